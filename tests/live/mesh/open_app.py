"""A service that listens on all of its addresses, calls whom it is told to, and has an address of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

from hms_nomad.workflows.session import Session

APP = """
import http.server, json, os, urllib.error, urllib.request

class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, body = 200, b"here"
        if self.path.startswith("/ask/"):
            url = "http://" + self.path[5:]
            if not self.path[5:]:
                url = next(os.environ[name] for name in os.environ if name.startswith("HMS_") and name.endswith("_URL"))
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    body = answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
            except OSError as error:
                status, body = 502, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), App).serve_forever()
"""


def write_spec(folder: Path, name: str, **fields: Any) -> None:
    """Its spec, as NAME.hms.json in ``folder``."""
    spec = {
        "name": name,
        "version": "1.0.0",
        "command": ["python3", "-c", APP],
        "port": 3000,
        "health": {"path": "/health"},
        "scaling": {"min": 1, "max": 1},
        "rollout": {"drain": "0s", "min_healthy": "1s"},
        **fields,
    }
    (folder / f"{name}.hms.json").write_text(json.dumps(spec))


def inside(session: Session, job: str) -> str:
    """The address of a job's only instance in its own network."""
    (one,) = (each for each in session.nomad.job_allocations(job).value if not each.done)
    url = f"{session.platform.nomad.address}/v1/allocation/{one.id}"
    return str(requests.get(url, timeout=10).json()["NetworkStatus"]["Address"])
