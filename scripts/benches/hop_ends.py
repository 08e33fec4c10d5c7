"""The two ends of a measured hop: a service that answers at once, and a caller that asks as fast as it is answered.

    hop_ends.py serve                     on the port in PORT
    hop_ends.py ask HOST PORT PATH        a line "COUNT CONNECTIONS" on stdin -> a line of JSON on stdout

Both do as little as they can, so that what is measured is what lies between them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

_BODY = b'{"ok": true}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
_END = b"\r\n\r\n"


class Service(asyncio.Protocol):
    """Answers every request that has no body with the same few bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open = b""

    def data_received(self, data: bytes) -> None:
        *whole, self.open = (self.open + data).split(_END)
        self.transport.write(_ANSWER * len(whole))


class Caller(asyncio.Protocol):
    """One connection: asks again as soon as it is answered, until all callers together have asked often enough."""

    def __init__(self, request: bytes, run: Run) -> None:
        self.request, self.run, self.open, self.since = request, run, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self.open += data
        if _BODY not in self.open:
            if b" 200 " not in self.open[:16]:
                self.run.fail(f"answered with {self.open[:200]!r}")
            return
        self.run.took.append(time.perf_counter() - self.since)
        self.open = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.fail(f"the connection ended: {exc}")

    def _ask(self) -> None:
        if self.run.left == 0:
            self.run.end()
            return
        self.run.left -= 1
        self.since = time.perf_counter()
        self.transport.write(self.request)


class Run:
    """So many requests over all connections, and the seconds that each took."""

    def __init__(self, count: int) -> None:
        self.left, self.took = count, list[float]()
        self.wanted = count
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """All have been asked; the last answer ends the run."""
        if len(self.took) == self.wanted and not self.over.done():
            self.over.set_result(None)

    def fail(self, why: str) -> None:
        """One went wrong, so that nothing can be said of the run."""
        if not self.over.done():
            self.over.set_exception(RuntimeError(why))


async def ask(host: str, port: int, path: str) -> None:
    """Runs as they are asked for on stdin; their figures on stdout."""
    request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        count, connections = map(int, line.split())
        run = Run(count)
        started = time.perf_counter()
        opened = [
            await loop.create_connection(lambda run=run: Caller(request, run), host, port) for _ in range(connections)
        ]
        try:
            await asyncio.wait_for(run.over, 120)
            seconds = time.perf_counter() - started
            took = sorted(run.took)
            figures = {
                "p50_ms": took[len(took) // 2] * 1000,
                "p99_ms": took[min(len(took) - 1, len(took) * 99 // 100)] * 1000,
                "rate": len(took) / seconds,
            }
        except (RuntimeError, TimeoutError) as error:
            figures = {"error": str(error) or "not answered in time"}
        for transport, _ in opened:
            transport.abort()
        print(json.dumps(figures), flush=True)


async def serve() -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Service, "", int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        asyncio.run(ask(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
