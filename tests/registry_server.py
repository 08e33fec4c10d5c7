"""A real registry of images on a free port, and servers that answer as a registry in trouble does."""

from __future__ import annotations

import contextlib
import http.server
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.binaries import binary
from tests.processes import free_port, running
from tests.serving import serving


@contextlib.contextmanager
def image_registry(directory: Path, users: str = "") -> Iterator[str]:
    """HOST:PORT of Docker's registry with its data in ``directory``; skips where the program is missing.

    ``users`` are lines of an htpasswd file: whoever is none of them is let do nothing.
    """
    program = binary("docker-registry", "registry")
    directory.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    config = directory / "config.yml"
    body = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": host},
    }
    if users:
        (directory / "users").write_text(users, encoding="utf-8")
        body["auth"] = {"htpasswd": {"realm": "tests", "path": str(directory / "users")}}
    config.write_text(json.dumps(body), encoding="utf-8")
    with running([program, "serve", str(config)], directory) as server:
        server.wait_until(lambda: _answers(f"http://{host}/v2/"), "answering")
        yield host


@contextlib.contextmanager
def answering(handle: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """HOST:PORT of a server that answers as ``handle`` says."""
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handle)) as server:
        yield f"127.0.0.1:{server.server_port}"


def handler(respond: Any) -> type[http.server.BaseHTTPRequestHandler]:
    """A handler whose answers ``respond(request)`` gives: status, headers, body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.sent = self.rfile.read(length)
            status, headers, body = respond(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - names of the library

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
