import json
import os

import pg8000.native
from cases import Follower, cases, plainly

connection = pg8000.native.Connection(
    os.environ["PGUSER"], host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), database=os.environ["PGDATABASE"]
)
for ledger, text, data, document in cases():
    follower = Follower(ledger)
    running, handle = follower.running, follower.handle
    request, position = "request 1", 0
    # the example
    print(ledger, sequence, "retried", sep="\t")
    overloaded = "SELECT ledger_append(:ledger, :key, :payload)"
    plainly(lambda: connection.run(overloaded, ledger=ledger, key="text", payload=text))
    plainly(lambda: connection.run(overloaded, ledger=ledger, key="bytes", payload=data))
    plainly(lambda: connection.run(overloaded, ledger=ledger, key="json", payload=json.dumps(document)))
