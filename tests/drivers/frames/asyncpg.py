import asyncio
import json
import sys

import asyncpg
from cases import Follower, cases


async def plainly(append):
    """Calls the overloaded function in the plainest way: it may refuse."""
    try:
        await append
    except Exception as error:
        print("refused:", error, file=sys.stderr)


async def main():
    connection = await asyncpg.connect()
    for ledger, text, data, document in cases():
        follower = Follower(ledger)
        running, handle = follower.running, follower.handle
        request, position = "request 1", 0
        # the example
        print(ledger, sequence, "retried", sep="\t")
        overloaded = "SELECT ledger_append($1, $2, $3)"
        await plainly(connection.execute(overloaded, ledger, "text", text))
        await plainly(connection.execute(overloaded, ledger, "bytes", data))
        await plainly(connection.execute(overloaded, ledger, "json", json.dumps(document)))
    await connection.close()


asyncio.run(main())
