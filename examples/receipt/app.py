"""Receipt Service: pretends to mail a receipt and answers with its number. Nothing but Python's standard library."""

import json
import os
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receipt(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404, {"ok": self.path == "/health"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        # The sidecar has checked the caller's certificate and says whose it was.
        peer = re.search(r"URI=(spiffe://[^;,]+)", self.headers.get("X-Forwarded-Client-Cert") or "")
        caller = peer.group(1) if peer else "nobody"
        print(f"Sent receipt to {request.get('email')} for {caller}", flush=True)
        self.answer(200, {"ok": True, "ref": f"R-{time.time_ns() // 1_000_000}", "caller": caller})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", int(os.environ.get("PORT", "3000"))), Receipt).serve_forever()
