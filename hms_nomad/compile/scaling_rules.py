"""A stored scaling policy and what is measured -> what each rule says, and what the autoscaler will do, or why nothing.

The reading is the autoscaler's own (0.5.0): within a group of checks those that say nothing are passed over; between
groups one more outweighs nothing, and nothing outweighs one fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from hms_nomad.compile.scaling import HOLD_KEY

_DAYS = {"0": 6, "1": 0, "2": 1, "3": 2, "4": 3, "5": 4, "6": 5}
"""Days of a cron expression by number -> days of Python's calendar."""


class Says(StrEnum):
    """What a rule asks for."""

    MORE = "one more"
    FEWER = "one fewer"
    NOTHING = "nothing"
    UNKNOWN = "unknown"
    ASLEEP = "asleep"


class Rule(Struct, frozen=True):
    """One rule of a policy: out at ``high`` and above, in below ``low``, nothing at ``highest`` and above.

    A scheduled minimum has ``minimum``, and its hours in ``start`` (cron, UTC) and ``minutes``; the others have a
    ``query`` that ``source`` answers.
    """

    name: str
    source: str = ""
    query: str = ""
    high: float | None = None
    low: float | None = None
    highest: float | None = None
    minimum: int | None = None
    start: str = ""
    minutes: int = 0


class Voice(Struct, frozen=True):
    """What a rule says now; ``value`` is what was measured (None where that cannot be known)."""

    rule: Rule
    value: float | None
    says: Says
    count: int | None = None


def rules_of(scaling: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules in a job's ``Scaling`` block, in its order; checks of other shapes than ours are left out."""
    found: dict[str, Rule] = {}
    for checks in (scaling.get("Policy") or {}).get("check") or ():
        for name, bodies in checks.items():
            rule = _rule(name, bodies[0])
            if rule is not None:
                before = found.get(rule.name)
                found[rule.name] = _joined(before, rule) if before else rule
    return tuple(found.values())


def held_until(scaling: Mapping[str, Any], now: datetime) -> datetime | None:
    """Until when a hold keeps the count, or None when there is none or it is over (all times UTC)."""
    times = next(iter((scaling.get("Policy") or {}).get(HOLD_KEY) or ()), None)
    if times is None:
        return None
    over, began = _moment(times["start"], now), _moment(times["end"], now)
    if over > began:
        return None
    return _moment(times["start"], now, following=True)


def hold(begin: datetime, until: datetime) -> list[dict[str, str]]:
    """A policy's times that let nothing be evaluated from ``begin`` until ``until`` (UTC, whole minutes later at most).

    The language has no years: unless the hold is lifted or the service is deployed without it, it would come back a
    year later.
    """
    whole = until.replace(second=0, microsecond=0)
    end = whole if whole == until else whole + timedelta(minutes=1)
    return [{"start": _cron(end), "end": _cron(begin)}]


def voice(rule: Rule, value: float | None, count: int, now: datetime) -> Voice:
    """What a rule says of a measured ``value`` with ``count`` instances."""
    if rule.minimum is not None:
        if not _awake(rule, now):
            return Voice(rule, None, Says.ASLEEP)
        says = Says.MORE if count < rule.minimum else Says.FEWER if count > rule.minimum else Says.NOTHING
        return Voice(rule, float(rule.minimum), says, rule.minimum)
    if value is None:
        return Voice(rule, None, Says.UNKNOWN)
    if rule.high is not None and rule.high <= value < (rule.highest or float("inf")):
        return Voice(rule, value, Says.MORE, count + 1)
    if rule.low is not None and 0 <= value < rule.low:
        return Voice(rule, value, Says.FEWER, count - 1)
    return Voice(rule, value, Says.NOTHING)


def wanted(voices: Sequence[Voice], count: int, least: int, most: int) -> tuple[int, str]:
    """The count that the rules come to, and the reason in words."""
    awake = [one for one in voices if one.says is not Says.ASLEEP]
    unknown = [one.rule.name for one in awake if one.says is Says.UNKNOWN]
    if unknown:
        return count, f"the figure of {', '.join(unknown)} is missing, so nothing moves"
    more = [one for one in awake if one.says is Says.MORE]
    if more:
        target = min(most, max(one.count or count for one in more))
        names = ", ".join(one.rule.name for one in more)
        if target <= count:
            return count, f"{names} asks for more, but {most} is the most that may run"
        return target, f"{names} asks for more"
    content = [one.rule.name for one in awake if one.says is Says.NOTHING]
    if content or not awake:
        return count, f"{', '.join(content) or 'no rule'} is content with {count}"
    target = max(least, *(one.count or count for one in awake))
    if target >= count:
        return count, f"all rules agree to take one away, but {least} always run"
    return target, "all rules agree to take one away"


def _rule(name: str, check: Mapping[str, Any]) -> Rule | None:
    strategies: Mapping[str, Any] = next(iter(check.get("strategy") or ()), {})
    if fixed := strategies.get("fixed-value"):
        times: Mapping[str, Any] = next(iter(check.get("schedule") or ()), {})
        return Rule(
            name,
            minimum=int(fixed[0]["value"]),
            start=str(times.get("start", "")),
            minutes=int(str(times.get("duration", "0m")).removesuffix("m")),
        )
    if not (bounds := strategies.get("threshold")):
        return None
    group = str(check.get("group") or name)
    source, query = str(check.get("source", "")), str(check.get("query", ""))
    if float(bounds[0].get("delta", 0)) > 0:
        highest = bounds[0].get("upper_bound")
        high = float(bounds[0]["lower_bound"])
        return Rule(group, source, query, high=high, highest=None if highest is None else float(highest))
    return Rule(group, source, query, low=float(bounds[0]["upper_bound"]))


def _joined(one: Rule, other: Rule) -> Rule:
    high = one.high if one.high is not None else other.high
    low = one.low if one.low is not None else other.low
    return Rule(one.name, one.source, one.query, high, low, one.highest or other.highest)


def _awake(rule: Rule, now: datetime) -> bool:
    """Whether a scheduled minimum that began at most its length ago is still valid."""
    minute, hour, _, _, days = rule.start.split(" ")
    for back in (0, 1):
        day = now - timedelta(days=back)
        begin = day.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
        on_day = days == "*" or begin.weekday() in {_DAYS[one] for one in days.split(",")}
        if on_day and begin <= now < begin + timedelta(minutes=rule.minutes):
            return True
    return False


def _cron(moment: datetime) -> str:
    return f"{moment.minute} {moment.hour} {moment.day} {moment.month} *"


def _moment(cron: str, now: datetime, *, following: bool = False) -> datetime:
    """The last time that a cron expression of ``hold`` meant up to ``now``, or the next one after it."""
    minute, hour, day, month, _ = (int(part) if part != "*" else 0 for part in cron.split(" "))
    found = [one for one in _yearly(now.year, month, day, hour, minute) if (one > now) == following]
    return min(found) if following else max(found)


def _yearly(year: int, month: int, day: int, hour: int, minute: int) -> Iterator[datetime]:
    """That day and time in the years around one; the 29th of February comes every four years, but for centuries."""
    for one in range(year - 8, year + 9):
        try:
            yield datetime(one, month, day, hour, minute, tzinfo=UTC)
        except ValueError:
            continue
