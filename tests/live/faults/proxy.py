"""A server and rules -> an HTTP proxy in front of it that answers, delays, holds, drops or cuts what the rules say.

What it cannot do is to freeze or to kill the server itself: for that there are signals.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

WRITES = "PUT|POST|DELETE"
_BLOCK = 65536
_PAUSE_SECONDS = 0.005


@dataclass
class Rule:
    """What befalls a request whose method and path match: the ``first`` of them and the following, ``times`` in all.

    ``status`` answers in the server's place, with ``body`` and ``headers``. ``drop`` closes the connection "before" the
    server is asked or "after" it was. ``cut`` sends only so many bytes of the server's answer, ``slice`` all of them in
    pieces of that size. ``delay`` is in seconds.
    ``held`` keeps the request back, "before" the server is asked or "after", until ``let_go``; ``reached`` is set
    when a request got there. ``hit`` counts the requests that the rule befell, ``what`` was the last one.
    """

    method: str = ".*"
    path: str = ""
    first: int = 1
    times: int = 1
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: str = ""
    cut: int | None = None
    slice: int = 0
    delay: float = 0.0
    held: str = ""
    seen: int = 0
    hit: int = 0
    what: str = ""
    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def befalls(self, method: str, path: str) -> bool:
        """Count a request that matches, and say whether its turn has come."""
        if not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        self.seen += 1
        due = self.first <= self.seen < self.first + self.times
        self.hit += due
        self.what = f"{method} {path.partition('?')[0]}" if due else self.what
        return due

    def hold(self, where: str) -> None:
        """Keep the request back where the rule says so."""
        if self.held == where:
            self.reached.set()
            self.let_go.wait(120)


class FaultProxy:
    """Use as a context manager; ``address`` is where to ask."""

    def __init__(self, target: str, rules: list[Rule], lock: threading.Lock) -> None:
        """``target`` is the server's URL. Proxies that share ``rules`` and ``lock`` count their requests together."""
        self._target = urlsplit(target)
        self._rules = rules
        self._lock = lock
        self.asked: list[tuple[str, str]] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        """Begin to pass requests on."""
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what is held, and stop."""
        for rule in self._rules:
            rule.let_go.set()
        self._server.shutdown()
        self._server.server_close()

    def _rule(self, method: str, path: str) -> Rule | None:
        with self._lock:
            self.asked.append((method, path))
            due = [rule for rule in self._rules if rule.befalls(method, path)]
        return due[0] if due else None

    def _handler(self) -> Callable[..., Any]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    super().handle()

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                rule = proxy._rule(self.command, self.path) or Rule()
                time.sleep(rule.delay)
                rule.hold("before")
                if rule.drop == "before":
                    self.close_connection = True
                elif rule.status is not None:
                    self._answer(rule.status, rule.headers, rule.body)
                else:
                    self._forward(body, rule)

            def _forward(self, body: bytes, rule: Rule) -> None:
                connection = http.client.HTTPConnection(str(proxy._target.hostname), proxy._target.port, timeout=330)
                with contextlib.closing(connection):
                    headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    rule.hold("after")
                    if rule.drop == "after":
                        self.close_connection = True
                        return
                    if answer.length is None and answer.status == 200:
                        self._stream(answer)
                        return
                    self._answer(answer.status, dict(answer.getheaders()), answer.read(), rule.cut, rule.slice)

            def _answer(
                self, status: int, headers: Mapping[str, str], body: bytes, cut: int | None = None, size: int = 0
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for start in range(0, len(body), size) if size else ():
                    self.wfile.write(body[start : start + size])
                    time.sleep(_PAUSE_SECONDS)
                if not size and self.command != "HEAD":
                    self.wfile.write(body if cut is None else body[:cut])
                self.close_connection = cut is not None

            def _stream(self, answer: http.client.HTTPResponse) -> None:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                while data := answer.read1(_BLOCK):
                    self.wfile.write(data)
                    self.wfile.flush()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - the names are http.server's

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass(frozen=True, slots=True)
class Faulty:
    """The stack behind two proxies. Add to ``rules`` before a command; ``environment`` leads the command there."""

    rules: list[Rule]
    nomad: FaultProxy
    consul: FaultProxy

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make a command ask the proxies."""
        return {"NOMAD_ADDR": self.nomad.address, "CONSUL_HTTP_ADDR": self.consul.address}

    def rule(self, **fields: Any) -> Rule:
        """Add a rule."""
        self.rules.append(Rule(**fields))
        return self.rules[-1]

    @property
    def writes(self) -> list[tuple[str, str]]:
        """The writes that were asked for."""
        asked = [*self.consul.asked, *self.nomad.asked]
        return [(method, path) for method, path in asked if re.fullmatch(WRITES, method)]


@contextlib.contextmanager
def faulty_servers(nomad: str, consul: str) -> Iterator[Faulty]:
    """Proxies in front of a Nomad and a Consul, with the same rules."""
    rules: list[Rule] = []
    lock = threading.Lock()
    with FaultProxy(nomad, rules, lock) as first, FaultProxy(consul, rules, lock) as second:
        yield Faulty(rules, first, second)


def refused_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
