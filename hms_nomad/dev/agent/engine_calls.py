"""Calls to the machine's container engine: each in a thread of its own, so that the event loop never waits for one.

Speaks the Docker Engine API (https://docs.docker.com/reference/api/engine/).
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hms_nomad.clients.engine_socket import EngineConnection
from hms_nomad.dev.agent.drivers import DriverError
from hms_nomad.dev.agent.values import Json
from hms_nomad.dev.engine import Engine

_SECONDS = 120.0
_FOREVER = 10_000_000.0
_STDERR = 2
_HEADER_BYTES = 8
_LONGEST_PLACE = 64
T = TypeVar("T")


class EngineAwayError(DriverError):
    """The engine does not answer at all; it may later."""


class GoneError(DriverError):
    """The engine knows no such container or image."""


def in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Begin ``work`` in a thread that holds up neither other work nor the end of the agent."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
            _tell(future.set_exception, error)
        else:
            _tell(future.set_result, found)

    def _tell(setter: Callable[[Any], None], value: Any) -> None:
        # The loop is closed when the agent ends before the work does.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if future.done() else setter(value))

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def ask(engine: Engine, method: str, path: str, body: Json | None = None, *, seconds: float = _SECONDS) -> Any:
    """The JSON of an answer; {} for an empty one. Raises DriverError and its kinds."""
    return await in_thread(lambda: answered(engine, method, path, body, seconds=seconds), f"{method} {path[:40]}")


def answered(engine: Engine, method: str, path: str, body: Json | None = None, *, seconds: float = _SECONDS) -> Any:
    """The same, waiting. Raises DriverError and its kinds."""
    content = _content(engine, method, path, body, seconds)
    return json.loads(content) if content.strip() else {}


async def ask_text(engine: Engine, method: str, path: str, body: Json | None = None, *, seconds: float) -> str:
    """An answer as text. Raises DriverError and its kinds."""
    content = await in_thread(lambda: _content(engine, method, path, body, seconds), f"{method} {path[:40]}")
    return content.decode("utf-8", "replace")


def ended_container(engine: Engine, container: str) -> Json:
    """The state of a container once it has ended, waiting as long as it takes. Raises DriverError and its kinds."""
    answered(engine, "POST", f"/containers/{container}/wait", seconds=_FOREVER)
    state: Json = answered(engine, "GET", f"/containers/{container}/json")["State"]
    return state


def copy_output(engine: Engine, container: str, stdout: Path, stderr: Path, place: Path) -> None:
    """Append a container's output to files until it ends. Raises DriverError and its kinds.

    ``place`` keeps the time that the engine wrote on the last line that was copied, so that a later agent goes on
    behind it.
    """
    before = place.read_text(encoding="ascii").strip() if place.exists() else ""
    since = f"&since={_seconds(before)}" if before else ""
    path = f"/containers/{container}/logs?follow=true&stdout=true&stderr=true&timestamps=true{since}"
    with (
        contextlib.closing(EngineConnection(engine.socket, _FOREVER)) as connection,
        stdout.open("ab", buffering=0) as out,
        stderr.open("ab", buffering=0) as error,
        place.open("r+b" if place.exists() else "w+b", buffering=0) as copied,
    ):
        try:
            for kind, moment, data in _frames(connection, path):
                if moment <= before:
                    continue
                (error if kind == _STDERR else out).write(data)
                os.pwrite(copied.fileno(), moment.ljust(_LONGEST_PLACE).encode("ascii"), 0)
        except (OSError, http.client.HTTPException) as trouble:
            raise EngineAwayError(f"the container engine does not answer: {trouble}") from None


def _seconds(moment: str) -> str:
    """A time such as 2026-01-02T03:04:05.678901234Z as seconds since 1970, with all its digits."""
    whole, _, rest = moment.removesuffix("Z").partition(".")
    return f"{int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())}.{rest or 0}"


def _frames(connection: EngineConnection, path: str) -> Iterator[tuple[int, str, bytes]]:
    """Output without a terminal: 8 bytes of header (kind, size), then a time, a space, and what was written."""
    connection.request("GET", path)
    answer = connection.getresponse()
    _check(answer, answer.read)
    while len(header := answer.read(_HEADER_BYTES)) == _HEADER_BYTES:
        moment, _, data = answer.read(int.from_bytes(header[4:], "big")).partition(b" ")
        yield header[0], moment.decode("ascii", "replace"), data


def _content(engine: Engine, method: str, path: str, body: Json | None, seconds: float) -> bytes:
    with contextlib.closing(EngineConnection(engine.socket, seconds)) as connection:
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineAwayError(f"the container engine does not answer: {error}") from None
    _check(answer, lambda: content)
    return content


def _check(answer: http.client.HTTPResponse, content: Callable[[], bytes]) -> None:
    if answer.status < http.HTTPStatus.BAD_REQUEST:
        return
    kind = GoneError if answer.status == http.HTTPStatus.NOT_FOUND else DriverError
    raise kind(f"the container engine refuses: {_reason(content())}")


def _reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip()
