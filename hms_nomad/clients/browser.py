"""A login in a browser -> the code that it brings back to a port of this machine."""

from __future__ import annotations

import http.server
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hms_nomad.clients.errors import DeadlineExceededError, DeniedError, UnavailableError

_PATH = "/oidc/callback"
_PAGE = b"<!doctype html><title>hms-nomad</title><p>You can close this page and go back to the terminal."


@dataclass(frozen=True, slots=True)
class Returned:
    """What a provider of identities sent the browser back with."""

    state: str
    code: str = field(repr=False)


def redirect_of(port: int) -> str:
    """The address that a browser is sent back to; providers know it beforehand."""
    return f"http://localhost:{port}{_PATH}"


def wait_for_browser(server: str, port: int, begin: Callable[[str], None], seconds: float) -> Returned:
    """Listen on ``port``, ``begin`` the login with the address to come back to, and wait for the browser.

    Raises UnavailableError for a port that is taken, DeniedError where the provider refused, DeadlineExceededError
    after ``seconds``.
    """
    found: list[dict[str, str]] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path != _PATH:
                self.send_error(404)
                return
            found.append({name: values[0] for name, values in parse_qs(parts.query).items()})
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(_PAGE)))
            self.end_headers()
            self.wfile.write(_PAGE)

        def log_message(self, *_: Any) -> None:
            """The query holds the code, which belongs into no log."""

    try:
        listener = http.server.HTTPServer(("127.0.0.1", port), Answer)
    except OSError as error:
        raise UnavailableError(server, "log in", redirect_of(port), f"the port is taken: {error.strerror}") from None
    with listener:
        begin(redirect_of(port))
        deadline = time.monotonic() + seconds
        while not found:
            listener.timeout = deadline - time.monotonic()
            if listener.timeout <= 0:
                raise DeadlineExceededError(f"no browser came back to {redirect_of(port)} within {seconds:g} s")
            listener.handle_request()
    answer = found[0]
    if "code" not in answer:
        said = answer.get("error_description") or answer.get("error") or "it sent no code"
        raise DeniedError(server, "log in", redirect_of(port), f"the provider of identities refused: {said}")
    return Returned(answer.get("state", ""), answer["code"])
