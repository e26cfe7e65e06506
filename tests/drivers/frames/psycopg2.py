import json

import psycopg2
from cases import Follower, cases, plainly

connection = psycopg2.connect("")
connection.autocommit = True
for ledger, text, data, document in cases():
    follower = Follower(ledger)
    running, handle = follower.running, follower.handle
    request, position = "request 1", 0
    # the example
    print(ledger, sequence, "retried", sep="\t")
    overloaded = "SELECT ledger_append(%s, %s, %s)"
    plainly(lambda: cursor.execute(overloaded, [ledger, "text", text]))
    plainly(lambda: cursor.execute(overloaded, [ledger, "bytes", data]))
    plainly(lambda: cursor.execute(overloaded, [ledger, "json", json.dumps(document)]))
