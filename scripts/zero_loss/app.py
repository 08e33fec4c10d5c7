"""A service that says its version, answers late or wrongly when told to, and dies at the first signal.

It does nothing to finish what it is doing, so whatever loses no request here is not the service's own merit.
"""

from __future__ import annotations

import json
import os
import random
import socketserver
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULT = Path(os.environ.get("NOMAD_TASK_DIR", ".")) / "fault"
VERSION = os.environ.get("APP_VERSION", "0")
ERROR_RATE = float(os.environ.get("APP_ERRORS", "0"))


class Handler(BaseHTTPRequestHandler):
    """Any path: the version. ``?sleep=5`` answers after 5 seconds, ``/health`` always at once.

    While there is a file FAULT, its words count for all other paths: "sleep 3" or "status 503".
    """

    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self) -> None:
        if "sleep=" in self.path:
            time.sleep(float(self.path.rpartition("sleep=")[2]))
        status = self.fault() if self.path != "/health" else 200
        if self.path != "/health" and random.random() < ERROR_RATE:
            status = 500
        body = json.dumps({"version": VERSION}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def fault(self) -> int:
        """Do as the file says, and answer the status."""
        try:
            word, _, value = FAULT.read_text(encoding="ascii").partition(" ")
        except FileNotFoundError:
            return 200
        if word == "sleep":
            time.sleep(float(value))
        return int(value) if word == "status" else 200

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class Server(ThreadingHTTPServer):
    """Does not ask a name server for this machine's name, which nobody answers inside an instance's network."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "app", self.server_address[1]


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
