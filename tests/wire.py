"""Answers -> an HTTP server on 127.0.0.1 that gives them in this order, whole or broken, and keeps the questions."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.certificates import Pair


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say: ``declared`` is the length that the header states where it is not the body's.

    ``hang`` keeps the connection open without a word until the server is closed; ``drop`` closes it without one.
    ``parts`` are a body without a length, sent one by one; an empty one is a silence until the server is closed.
    """

    status: int = 200
    body: bytes | str = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    declared: int | None = None
    hang: bool = False
    drop: bool = False
    parts: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Use as a context manager. The last answer is given again when there is no other."""

    def __init__(
        self, *answers: Answer, port: int = 0, certificate: Pair | None = None, client_ca: str | None = None
    ) -> None:
        """``certificate`` makes it https; ``client_ca`` then demands certificates that this authority signed.

        ``port`` 0 is a free one.
        """
        self.answers = list(answers)
        self.questions: list[Question] = []
        self._released = threading.Event()
        self._connections: list[socket.socket] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            if client_ca is not None:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            # Each connection's own thread makes its handshake, so that a refused one ends no other.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Its URL."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Wire:
        """Begin to answer."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of everything that hangs, break the connections, and stop."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def _next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _handler(self) -> Callable[..., Any]:
        wire = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                wire._connections.append(self.connection)
                with contextlib.suppress(OSError):
                    super().handle()

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                wire.questions.append(Question(self.command, self.path, dict(self.headers), self.rfile.read(length)))
                answer = wire._next()
                if answer.hang:
                    wire._released.wait(60)
                if answer.hang or answer.drop:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.parts is not None:
                    self._parts(answer.parts)
                    return
                body = answer.body.encode() if isinstance(answer.body, str) else answer.body
                self.send_header("Content-Length", str(len(body) if answer.declared is None else answer.declared))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = answer.declared is not None

            def _parts(self, parts: tuple[bytes, ...]) -> None:
                self.send_header("Connection", "close")
                self.end_headers()
                for part in parts:
                    if not part:
                        wire._released.wait(60)
                    self.wfile.write(part)
                    self.wfile.flush()

            do_GET = do_PUT = do_POST = do_DELETE = do_LIST = answer  # noqa: N815 - the names are http.server's

            def log_message(self, *_: object) -> None:
                pass

        return Handler
