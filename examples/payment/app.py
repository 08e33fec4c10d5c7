"""Payment Service: charges a user, then asks the Receipt Service for a receipt by its name in the mesh.

Where it is told of a database, each charge is recorded there first.
"""

import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from postgres import Postgres

# No port, no TLS and no discovery here: the sidecar does all three. The platform sets the variable, since a process
# outside a container may have no hosts file of its own that could know the name.
RECEIPT = os.environ.get("HMS_RECEIPT_SVC_URL", "http://receipt-svc.mesh") + "/receipt"

# tcp://db.mesh:5432, the mesh's way to the database; TLS with it is spoken here, beginning to end.
DATABASE = os.environ.get("HMS_DB_URL", "").removeprefix("tcp://")


def record(charge):
    """Write a charge into the database; its number there."""
    host, _, port = DATABASE.rpartition(":")
    told = {name: os.environ[f"DB_{name.upper()}"] for name in ("user", "password", "database", "ca", "server_name")}
    with Postgres(host, int(port), **told) as database:
        statement = "insert into charges (email, amount) values ($1, $2) returning number"
        return int(database.query(statement, charge["email"], charge["amount"])[0][0])


class Payment(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404, {"ok": self.path == "/health"})

    def do_POST(self):
        charge = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        recorded = {"number": record(json.loads(charge))} if DATABASE else {}
        call = urllib.request.Request(RECEIPT, charge, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=30) as answer:
            self.answer(200, {"charged": True, **recorded, "receipt": json.load(answer)})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", int(os.environ.get("PORT", "3001"))), Payment).serve_forever()
