"""Payment Service: charges a user, then asks the Receipt Service for a receipt by its name in the mesh."""

import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# No port, no TLS and no discovery here: the sidecar does all three. The platform sets the variable, since a process
# outside a container may have no hosts file of its own that could know the name.
RECEIPT = os.environ.get("HMS_RECEIPT_SVC_URL", "http://receipt-svc.mesh") + "/receipt"


class Payment(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404, {"ok": self.path == "/health"})

    def do_POST(self):
        charge = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = urllib.request.Request(RECEIPT, charge, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=30) as answer:
            self.answer(200, {"charged": True, "receipt": json.load(answer)})

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
