"""A rate of requests -> what became of each: sent into the mesh on time, whether or not earlier ones were answered.

The loop is open: request number ``n`` is due at ``n / rate`` seconds, and its latency counts from then on. A service
that stands still therefore shows in all the requests that were due meanwhile, instead of in one ("coordinated
omission").
"""

from __future__ import annotations

import asyncio
import ssl
from array import array
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from hms_nomad.clients.forward import Way
from hms_nomad.clients.http_call import Target, identity_of

_LATE = "not sent: all connections were busy until its time limit"


class LoadPlan(Struct, frozen=True):
    """``rate`` requests a second for ``seconds``, the same request each time.

    ``timeout`` in seconds bounds each request from the moment when it is due; ``connections`` are open at most.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    rate: float
    seconds: float
    timeout: float
    connections: int

    @property
    def requests(self) -> int:
        """How many requests will be due."""
        return max(1, round(self.rate * self.seconds))


class Tally(Struct):
    """What became of the requests so far.

    ``latencies`` are seconds from when a request was due to its whole answer, ``served`` from when it was really sent;
    both hold one value for each answer. ``failures`` counts requests without an answer by reason, ``instances`` the
    answers by address.
    """

    due: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    instances: Counter[str] = msgspec.field(default_factory=Counter)
    latencies: array[float] = msgspec.field(default_factory=lambda: array("d"))
    served: array[float] = msgspec.field(default_factory=lambda: array("d"))
    seconds: float = 0.0


def send_load(plan: LoadPlan, way: Callable[[], Way], progress: Callable[[Tally], None]) -> Tally:
    """Send the requests of ``plan`` and wait for their answers, one time limit longer at most.

    ``way`` is asked for each connection, so instances and certificates may change meanwhile; a connection to an
    instance that is no longer among them is not used again. ``progress`` is told of the tally once a second. An
    interruption ends the load early: what was counted stands, and requests under way are left out. Raises what ``way``
    raises at the beginning.
    """
    way()
    tally = Tally()
    try:
        asyncio.run(_Load(plan, way, tally).run(progress))
    except KeyboardInterrupt:
        # Nobody waited for those under way, so nobody knows what became of them.
        tally.due = len(tally.latencies) + sum(tally.failures.values())
    return tally


class _Connection(Struct):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    target: Target


class _Load:
    """One run: idle connections are taken last in, first out, so that few stay in use at a low rate."""

    def __init__(self, plan: LoadPlan, way: Callable[[], Way], tally: Tally) -> None:
        self._plan = plan
        self._way = way
        self._tally = tally
        self._idle: dict[str, list[_Connection]] = {}
        self._free = asyncio.Semaphore(plan.connections)
        self._turn = 0
        self._request = _request(plan)

    async def run(self, progress: Callable[[Tally], None]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        told = begin
        running: set[asyncio.Task[None]] = set()
        try:
            for number in range(self._plan.requests):
                due = begin + number / self._plan.rate
                if (ahead := due - loop.time()) > 0:
                    await asyncio.sleep(ahead)
                task = asyncio.create_task(self._one(due))
                running.add(task)
                task.add_done_callback(running.discard)
                self._tally.due += 1
                self._tally.seconds = loop.time() - begin
                if loop.time() - told >= 1:
                    told = loop.time()
                    progress(self._tally)
            if running:
                await asyncio.wait(running, timeout=self._plan.timeout + 1)
            self._tally.seconds = loop.time() - begin
        finally:
            for task in running:
                task.cancel()
            for connections in self._idle.values():
                for connection in connections:
                    connection.writer.close()

    async def _one(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        connection: _Connection | None = None
        try:
            async with asyncio.timeout_at(due + self._plan.timeout), self._free:
                connection = await self._connection()
                begin = loop.time()
                status, reusable = await _exchange(connection, self._request, self._plan.method)
        except TimeoutError:
            self._tally.failures["no answer in time" if connection else _LATE] += 1
        except (OSError, ssl.SSLError, EOFError, ValueError) as error:
            self._tally.failures[_spoken(error, connection)] += 1
        else:
            end = loop.time()
            self._tally.statuses[status] += 1
            self._tally.instances[_address(connection.target)] += 1
            self._tally.latencies.append(end - due)
            self._tally.served.append(end - begin)
            if reusable:
                self._idle.setdefault(_address(connection.target), []).append(connection)
                return
        if connection is not None:
            connection.writer.close()

    async def _connection(self) -> _Connection:
        """An idle connection to the next instance, or a new one; instances that cannot be reached are passed over."""
        way = self._way()
        self._forget_gone(way)
        failure: Exception = ConnectionError("the service has no healthy instance")
        for _ in way.targets:
            target = way.targets[self._turn % len(way.targets)]
            self._turn += 1
            idle = self._idle.get(_address(target)) or []
            while idle:
                connection = idle.pop()
                if not connection.reader.at_eof():
                    return connection
                connection.writer.close()
            try:
                return await _open(target, way.context)
            except OSError as error:
                failure = error
        raise failure

    def _forget_gone(self, way: Way) -> None:
        known = {_address(target) for target in way.targets}
        for address in self._idle.keys() - known:
            for connection in self._idle.pop(address):
                connection.writer.close()


async def _open(target: Target, context: ssl.SSLContext) -> _Connection:
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=context, server_hostname=target.server_name
    )
    shown = identity_of(writer.get_extra_info("ssl_object"))
    if shown != target.identity:
        writer.close()
        raise ConnectionError(f"it is {shown or 'nobody'}, not {target.identity}")
    return _Connection(reader, writer, target)


async def _exchange(connection: _Connection, request: bytes, method: str) -> tuple[int, bool]:
    """The status of the answer, read to its end, and whether another request may follow on the connection."""
    connection.writer.write(request)
    await connection.writer.drain()
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if method != "HEAD" and status not in (204, 304):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            await _read_chunks(connection.reader)
        elif "content-length" in headers:
            await connection.reader.readexactly(int(headers["content-length"]))
        else:
            await connection.reader.read()
            return status, False
    return status, headers.get("connection", "").lower() != "close"


async def _read_chunks(reader: asyncio.StreamReader) -> None:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        await reader.readexactly(size + 2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


def _request(plan: LoadPlan) -> bytes:
    lines = [f"{plan.method} {plan.path} HTTP/1.1", *(f"{name}: {value}" for name, value in plan.headers.items())]
    if plan.body or plan.method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(plan.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + plan.body


def _address(target: Target) -> str:
    return f"{target.host}:{target.port}"


def _spoken(error: Exception, connection: _Connection | None) -> str:
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"the connection broke: {what}" if connection else f"not connected: {what}"
