"""Why a service has as many instances as it has -> lines: each rule with its figure against its bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from hms_nomad.clients.nomad_types import ScalingEvent
from hms_nomad.compile.scaling_rules import Says, Voice
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table

_COLORS = {
    Says.MORE: ("yellow",),
    Says.FEWER: ("cyan",),
    Says.UNKNOWN: ("red",),
    Says.ASLEEP: ("dim",),
}
_UNITS = {"cpu": " %", "memory": " %", "requests": "/s", "latency": " ms"}
_SHOWN_EVENTS = 5


def rule_lines(printer: Printer, voices: Sequence[Voice]) -> Iterator[str]:
    """The rules as a table: what was measured, beyond which bounds it says something, and what it says."""
    columns = ("RULE", "NOW", "MORE FROM", "FEWER BELOW", "SAYS")
    rows = [_row(one) for one in voices]
    yield from table(printer, columns, rows, {str(word): style for word, style in _COLORS.items()})


def event_lines(events: Sequence[ScalingEvent]) -> Iterator[str]:
    """The last scaling events, newest first, a line each."""
    for event in events[:_SHOWN_EVENTS]:
        moment = datetime.fromtimestamp(event.time_ns / 1e9, UTC)
        change = f"{event.previous_count} -> {event.count}" if event.count is not None else "no change"
        failed = " (failed)" if event.error else ""
        yield f"{moment:%Y-%m-%d %H:%M:%S} UTC  {change}{failed}  {inert(event.message)}".rstrip()


def figure(name: str, value: float | None) -> str:
    """A figure of a rule with its unit: "12 %", "240 ms"; "" for none."""
    return "" if value is None else f"{round(value, 1):g}{_UNITS.get(name, '')}"


def _row(one: Voice) -> tuple[str, ...]:
    rule = one.rule
    if rule.minimum is not None:
        return (rule.name, "", "", "", f"{one.says}" if one.says is Says.ASLEEP else f"at least {rule.minimum}")
    return (
        rule.name,
        figure(rule.name, one.value),
        figure(rule.name, rule.high),
        figure(rule.name, rule.low),
        str(one.says),
    )
