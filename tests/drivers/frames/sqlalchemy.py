import json

from cases import Follower, cases, plainly
from sqlalchemy import create_engine, func, select

connection = create_engine("postgresql+psycopg://").connect().execution_options(isolation_level="AUTOCOMMIT")
for ledger, text, data, document in cases():
    follower = Follower(ledger)
    running, handle = follower.running, follower.handle
    request, position = "request 1", 0
    # the example
    print(ledger, sequence, "retried", sep="\t")
    plainly(lambda: connection.execute(select(func.ledger_append(ledger, "text", text))))
    plainly(lambda: connection.execute(select(func.ledger_append(ledger, "bytes", data))))
    plainly(lambda: connection.execute(select(func.ledger_append(ledger, "json", json.dumps(document)))))
