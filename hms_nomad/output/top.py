"""Services at one moment -> a table, and their last minutes as lines of bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from hms_nomad.output.printer import Printer
from hms_nomad.output.table import table

_BARS = "▁▂▃▄▅▆▇█"
_COLORS = {
    "held": ("yellow",),
    "rollout": ("cyan",),
    "at maximum": ("red",),
    "no autoscaler": ("red",),
}


class Figures(Struct, frozen=True):
    """One service now. What cannot be known is None, and ``trend`` empty.

    ``cpu`` and ``memory`` are percent of what is reserved, ``requests`` a second, ``errors`` percent of them, ``p99``
    milliseconds; ``trend`` holds requests a second over the last minutes, oldest first. ``scaling`` is auto, held,
    rollout (Nomad takes no count meanwhile), at maximum or no autoscaler.
    """

    service: str
    running: int
    desired: int
    minimum: int
    maximum: int
    cpu: float | None
    memory: float | None
    requests: float | None
    errors: float | None
    p99: float | None
    trend: tuple[float, ...]
    release: str
    scaling: str


def top_lines(printer: Printer, services: Sequence[Figures]) -> Iterator[str]:
    """The services as a table."""
    if not services:
        yield "no service of ours runs in this namespace; deploy one with: hms-nomad deploy SPEC"
        return
    columns = (
        *("SERVICE", "INSTANCES", "BOUNDS", "CPU", "MEMORY", "REQUESTS", "ERRORS", "P99", "TREND", "RELEASE"),
        "SCALING",
    )
    yield from table(printer, columns, [_row(one) for one in services], _COLORS)


def figure_words(one: Figures) -> tuple[str, ...]:
    """CPU, memory, requests, errors and p99 with their units; "" for what cannot be known."""
    return (
        _number(one.cpu, " %"),
        _number(one.memory, " %"),
        _number(one.requests, "/s"),
        _number(one.errors, " %"),
        _number(one.p99, " ms"),
    )


def use_of(one: Figures) -> str:
    """The same on one line: "CPU 34 %, memory 21 %, 48.2/s, errors 0 %, p99 12 ms"; "" for nothing known."""
    names = ("CPU ", "memory ", "", "errors ", "p99 ")
    return ", ".join(f"{name}{word}" for name, word in zip(names, figure_words(one), strict=True) if word)


def sparkline(values: Sequence[float]) -> str:
    """Values as bars, the highest as the full one; "" for none. Below nothing and nothing at all are the lowest bar."""
    if not values:
        return ""
    highest = max(values)
    if highest <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, int(max(0.0, value) / highest * len(_BARS)))] for value in values)


def _row(one: Figures) -> tuple[str, ...]:
    running = str(one.running) if one.running == one.desired else f"{one.running}/{one.desired}"
    words = figure_words(one)
    return (
        *(one.service, running, f"{one.minimum}-{one.maximum}", *words, sparkline(one.trend), one.release),
        one.scaling,
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.0f}{unit}" if value >= 100 else f"{round(value, 1):g}{unit}"
