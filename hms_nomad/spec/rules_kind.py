"""Rules about kinds of specs: which fields they take, and when a job runs (HMS27x)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import quoted
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_job import UNKNOWN_TO
from hms_nomad.spec.registry import Check, Hit, check

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_PART = lazy_pattern(r"(?:\*|(?P<low>[0-9a-z]+)(?:-(?P<high>[0-9a-z]+))?)(?:/(?P<step>[0-9]{1,3}))?\Z")


def concerns(check: Check, kind: str) -> bool:
    """False for a check that looks only at fields that a spec of this kind does not have."""
    unknown = UNKNOWN_TO[kind]
    return check.rule.code == "HMS270" or not all(path[0] in unknown for path in check.reads)


@check(
    "HMS270",
    Level.ERROR,
    "A field that this kind of spec does not have",
    reads=("kind",),
    fix="remove it, or write another kind",
    example="kind: job\nport: 3000",
)
def field_of_another_kind(spec: Spec) -> Iterator[Hit]:
    """A service answers requests as long as it lives; a job runs to its end and answers nobody; what is external runs
    elsewhere, and only its address and who may call it are known here.
    """
    what = "an external service" if spec.kind == "external" else f"a {spec.kind}"
    for name in sorted(spec.given & UNKNOWN_TO[spec.kind]):
        yield Hit((name,), f"{what} has no {name}", at_key=True)


@check(
    "HMS271",
    Level.ERROR,
    "A schedule that says no time",
    reads=("schedule",),
    fix='write minute, hour, day, month and day of the week, for example "0 3 * * *" or "*/15 8-18 * * mon-fri"',
    example="kind: job\nschedule: {cron: '0 25 * * *'}",
)
def bad_cron(spec: Spec) -> Iterator[Hit]:
    """Five fields of numbers, ranges, lists and steps; a mistake would mean that the job never runs."""
    if spec.schedule is not None and (fault := _cron_fault(spec.schedule.cron)):
        yield Hit(("schedule", "cron"), f"schedule.cron {quoted(spec.schedule.cron)} {fault}")


def _cron_fault(cron: str) -> str:
    fields = cron.lower().split()
    if len(fields) != len(_FIELDS):
        return f"has {len(fields)} fields, not 5"
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if not _fits(part, low, high, names):
                return f"has no {name} in {quoted(part)}"
    return ""


def _fits(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _PART.match(part)
    if match is None:
        return False
    bounds = [_number(match.group(group), low, names) for group in ("low", "high") if match.group(group)]
    step = int(match.group("step") or 1)
    return all(low <= bound <= high for bound in bounds) and bounds == sorted(bounds) and 0 < step <= high


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    if text.isdigit():
        return int(text[:4])
    return names.index(text) + low if text in names else -1


@check(
    "HMS272",
    Level.ERROR,
    "A time zone that nobody knows",
    reads=("schedule",),
    fix="write a name of the time zone database, for example Europe/Berlin",
    example="kind: job\nschedule: {cron: '0 3 * * *', timezone: Europe/Bonn}",
)
def unknown_zone(spec: Spec) -> Iterator[Hit]:
    """Nomad would refuse the job when it is registered."""
    if spec.schedule is not None and not _is_zone(spec.schedule.timezone):
        yield Hit(("schedule", "timezone"), f"there is no time zone {quoted(spec.schedule.timezone)}")


def _is_zone(name: str) -> bool:
    """True also on a machine that has no time zone database to ask."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return not _has_zones()
    return True


def _has_zones() -> bool:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        return False
    return True


@check(
    "HMS273",
    Level.WARNING,
    "A job that starts again while it runs",
    reads=("schedule",),
    fix="remove overlap, unless two runs at the same time cannot harm each other",
    example="kind: job\nschedule: {cron: '* * * * *', overlap: true}",
)
def overlapping_runs(spec: Spec) -> Iterator[Hit]:
    """A run that takes longer than usual would meet the next one, and both may work on the same data."""
    if spec.schedule is not None and spec.schedule.overlap:
        yield Hit(("schedule", "overlap"), "schedule.overlap is true")
