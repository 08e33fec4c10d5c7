"""A collector of traces for tests: takes OTLP by HTTP, as proxies send it, and keeps the spans."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_CHUNK_END = 2
_VARINT, _EIGHT, _FOUR = 0, 1, 5


@dataclass(frozen=True, slots=True)
class Span:
    """A span: ids in hexadecimal, ``parent`` is "" for the first of a trace."""

    service: str
    trace: str
    id: str
    parent: str
    name: str


class Collector:
    """Answers on one address until it is closed."""

    def __init__(self, host: str) -> None:
        self.spans: list[Span] = []
        outer = self

        class Take(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.spans += spans_of(self._body())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                body = b""
                while length := int(self.rfile.readline(), 16):
                    body += self.rfile.read(length)
                    self.rfile.read(_CHUNK_END)
                self.rfile.readline()
                return body

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((host, 0), Take)
        self.url = f"http://{host}:{self._server.server_address[1]}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace: str) -> dict[str, list[Span]]:
        """The spans of a trace that have come so far, by service."""
        found: dict[str, list[Span]] = {}
        for span in list(self.spans):
            if span.trace == trace:
                found.setdefault(span.service, []).append(span)
        return found


def spans_of(body: bytes) -> Iterator[Span]:
    """The spans of an ExportTraceServiceRequest (opentelemetry/proto/trace/v1/trace.proto)."""
    for resource in _all(body, 1):
        attributes = [dict(_fields(pair)) for whole in _all(resource, 1) for pair in _all(whole, 1)]
        named = [dict(_fields(pair[2]))[1] for pair in attributes if pair[1] == b"service.name"]
        for span in (dict(_fields(one)) for scope in _all(resource, 2) for one in _all(scope, 2)):
            ids = [bytes(span.get(number, b"")).hex() for number in (1, 2, 4)]
            yield Span(bytes(named[0]).decode(), *ids, bytes(span.get(5, b"")).decode())


def _all(message: bytes, number: int) -> list[bytes]:
    return [value for found, value in _fields(message) if found == number]


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message of Protocol Buffers."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind in (_EIGHT, _FOUR):
            length = 8 if kind == _EIGHT else 4
        else:
            length, place = _varint(message, place)
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
