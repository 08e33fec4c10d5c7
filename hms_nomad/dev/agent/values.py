"""Small things that all parts of the agent share: ids, time, durations and errors that become HTTP answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
Clock = Callable[[], float]
"""Seconds since 1970."""

SECOND = 1_000_000_000
NEVER = "0001-01-01T00:00:00Z"
"""How Go writes a time that is not set."""

DEAD_CLIENT = frozenset({"complete", "failed", "lost"})
ENDED_DEPLOYMENT = frozenset({"failed", "successful", "cancelled"})
LIVE_DEPLOYMENT = frozenset({"running", "paused", "pending", "blocked", "unblocking", "initializing"})


class RefusedError(Exception):
    """What the API answers instead of a result: a status and Nomad's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def new_id() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


def wall_clock() -> float:
    """The real clock, in seconds since 1970."""
    return time.time()


def nanoseconds(seconds: float) -> int:
    """Seconds as Go counts time."""
    return int(seconds * SECOND)


def seconds(nanos: Any) -> float:
    """Nanoseconds as a number of seconds; what is absent is 0."""
    return float(nanos or 0) / SECOND


def timestamp(moment: float) -> str:
    """Seconds since 1970 as Go writes them in JSON."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str | None) -> float:
    """The reverse of ``timestamp``; 0 for a time that is not set."""
    if not text or text == NEVER:
        return 0.0
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def parse_duration(text: str) -> float:
    """A duration as Go writes it ("1m30s", "200ms") in seconds. Raises ValueError."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "ns": 1e-9}
    total, number, rest = 0.0, "", text
    while rest:
        number = ""
        while rest and (rest[0].isdigit() or rest[0] == "."):
            number, rest = number + rest[0], rest[1:]
        unit = ""
        while rest and rest[0].isalpha():
            unit, rest = unit + rest[0], rest[1:]
        if not number or unit not in units:
            raise ValueError(f"{text!r} is no duration")
        total += float(number) * units[unit]
    return total


def duration_text(nanos: int) -> str:
    """Nanoseconds as Go prints them: 30s, 1m0s, 500ms, 1.5s."""
    if nanos and nanos < SECOND:
        return f"{nanos / 1e6:g}ms"
    whole = nanos / SECOND
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    text = f"{left:g}s"
    if minutes or hours:
        text = f"{minutes:g}m{text}"
    return f"{hours:g}h{text}" if hours else text
