"""Requests at a fixed rate -> how each ended: an open loop, so that a stall of the service does not hide requests.

Runs inside the network namespace of a caller, where the service answers under its loopback address. Prints one JSON
object; a request fails when its status is not 200 or no whole answer came.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

_LIMIT_SECONDS = 60.0
# The caller's sidecar adds it to what came from an instance; its own answers go without.
_TIMED = "x-envoy-upstream-service-time"


@dataclass(frozen=True)
class Answer:
    """An answer, and whether an instance gave it (its service or its sidecar) or the caller's own sidecar did."""

    status: int
    body: bytes
    from_instance: bool

    @property
    def reason(self) -> str:
        """Why it is no good one, and who says so."""
        who = "instance" if self.from_instance else "caller's sidecar"
        return f"{self.status} of the {who}: {self.body[:160].decode('latin-1')}"


@dataclass
class Counts:
    """What was seen so far."""

    sent: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    answered: list[tuple[float, str]] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)


class Connections:
    """Idle connections that are kept alive, newest first."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def take(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self.host, self.port)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: str, keep: bool, headers: str
) -> Answer:
    """One request and its answer on an open connection."""
    connection = "keep-alive" if keep else "close"
    writer.write(f"{asked} HTTP/1.1\r\nhost: zero-loss\r\nconnection: {connection}\r\n{headers}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Answer(int(lines[0].split()[1]), body, _TIMED in fields)


async def request(pool: Connections, counts: Counts, asked: str, keep: bool, headers: str, started: float) -> None:
    """One request (method and path) from its due time on; nothing is tried again."""
    begun = time.monotonic()
    try:
        reader, writer = await pool.take() if keep else await asyncio.open_connection(pool.host, pool.port)
        answer = await asyncio.wait_for(exchange(reader, writer, asked, keep, headers), _LIMIT_SECONDS)
    except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
        _failed(counts, type(error).__name__, begun - started)
        return
    counts.milliseconds.append((time.monotonic() - begun) * 1000)
    if answer.status != 200:
        _failed(counts, answer.reason, begun - started)
    else:
        with suppress(ValueError):
            version = str(json.loads(answer.body).get("version"))
            counts.versions[version] += 1
            counts.answered.append((begun, version))
    if keep and answer.status == 200:
        pool.idle.append((reader, writer))
    else:
        writer.close()


def _failed(counts: Counts, why: str, at: float) -> None:
    counts.failed[why] += 1
    counts.failures.append((round(at, 2), why))


async def run(arguments: argparse.Namespace) -> Counts:
    """Send until the time is over, or the file ``--until`` is there; every other request keeps its connection."""
    pool, counts, running = Connections(arguments.host, arguments.port), Counts(), set()
    started, every = time.monotonic(), 1.0 / arguments.rate
    while not _over(arguments, started, counts.sent):
        due = started + counts.sent * every
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        slow = arguments.slow and counts.sent % arguments.slow == 0
        path = arguments.slow_path if slow else arguments.path
        keep = counts.sent % 2 == 0
        task = asyncio.create_task(request(pool, counts, f"{arguments.method} {path}", keep, arguments.header, started))
        running.add(task)
        task.add_done_callback(running.discard)
        counts.sent += 1
    if running:
        await asyncio.wait(running)
    return counts


def switched(answered: Sequence[tuple[float, str]], share: float = 0.99) -> tuple[str, float]:
    """The version that answered last, and since when ``share`` of all requests came to it (a value of
    ``time.monotonic()``, which all processes of a machine share).
    """
    if not answered:
        return "", 0.0
    rest = sorted(answered, reverse=True)
    last, since, others = rest[0][1], rest[0][0], 0
    for number, (begun, version) in enumerate(rest, start=1):
        others += version != last
        if others <= number * (1 - share):
            since = begun
    return last, since


def _over(arguments: argparse.Namespace, started: float, sent: int) -> bool:
    if arguments.until:
        with suppress(FileNotFoundError), open(arguments.until, encoding="utf-8"):  # noqa: PTH123
            return True
    if arguments.count and sent >= arguments.count:
        return True
    return time.monotonic() - started >= arguments.seconds


def main() -> None:
    """Read the command line, send, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.1.1")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--method", default="GET")
    parser.add_argument("--path", default="/receipt")
    parser.add_argument("--slow-path", default="/receipt?sleep=5")
    parser.add_argument("--slow", type=int, default=0, help="every n-th request takes the slow path; 0: none")
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--count", type=int, default=0, help="end after that many requests; 0: no limit")
    parser.add_argument("--until", default="", help="end when this file exists")
    parser.add_argument("--header", default="", help='a further header line, like "x-hms-canary: 1"')
    arguments = parser.parse_args()
    if arguments.header:
        arguments.header += "\r\n"
    counts = asyncio.run(run(arguments))
    times = sorted(counts.milliseconds)
    print(
        json.dumps(
            {
                "sent": counts.sent,
                "failed": sum(counts.failed.values()),
                "reasons": dict(counts.failed),
                "versions": dict(counts.versions),
                "p50_ms": round(times[len(times) // 2], 2) if times else None,
                "p99_ms": round(times[int(len(times) * 0.99)], 2) if times else None,
                "failures": counts.failures,
                "switched": switched(counts.answered),
            }
        )
    )


if __name__ == "__main__":
    main()
