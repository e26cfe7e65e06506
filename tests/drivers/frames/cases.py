"""What the programs in Python share: the cases that they are given, and what they tell."""

import json
import sys


def cases():
    """One line for each: context, and in hexadecimal digits text, bytes and JSON."""
    for line in sys.stdin:
        ledger, *values = line.rstrip("\n").split("\t")
        text, data, document = [bytes.fromhex(value) for value in values]
        yield ledger, text.decode(), data, json.loads(document)


class Follower:
    """Handles the entries of a context until all that the example has appended were there."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.handled = 0

    def running(self):
        return self.handled < 4

    def handle(self, sequence, key, payload):
        assert isinstance(payload, bytes)
        print(self.ledger, sequence, key, payload.hex(), sep="\t", flush=True)
        self.handled += 1


def plainly(append):
    """Calls the overloaded function in the plainest way: it may refuse."""
    try:
        append()
    except Exception as error:
        print("refused:", error, file=sys.stderr)
