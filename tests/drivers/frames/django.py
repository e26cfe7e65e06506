import json
import os

from cases import Follower, cases, plainly
from django.conf import settings
from django.db import connection

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "NAME": os.environ["PGDATABASE"],
        }
    }
)
for ledger, text, data, document in cases():
    follower = Follower(ledger)
    running, handle = follower.running, follower.handle
    request, position = "request 1", 0
    # the example
    print(ledger, sequence, "retried", sep="\t")
    overloaded = "SELECT ledger_append(%s, %s, %s)"
    with connection.cursor() as cursor:
        plainly(lambda: cursor.execute(overloaded, [ledger, "text", text]))
        plainly(lambda: cursor.execute(overloaded, [ledger, "bytes", data]))
        plainly(lambda: cursor.execute(overloaded, [ledger, "json", json.dumps(document)]))
