"""A schedule of five fields and a time zone -> the next moment at which it is due. Pure.

Fields hold numbers, names of months and days, ranges, lists and steps. As with Nomad, a day that either of the two
fields of days names is due where both of them are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

_PART = lazy_pattern(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, Sequence[str]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 7, _DAYS),
)
_YEARS = 8


class Schedule(Struct, frozen=True):
    """When something is due; ``days`` and ``weekdays`` are None where the field names all of them."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None
    zone: ZoneInfo

    @classmethod
    def read(cls, text: str, zone: str) -> Schedule:
        """The schedule that a text says. Raises ValueError for one that says none."""
        fields = text.lower().split()
        if len(fields) != len(_FIELDS):
            raise ValueError(f"the schedule {text!r} has {len(fields)} fields, not {len(_FIELDS)}")
        sets = [_numbers(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True)]
        try:
            place = ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {zone!r}") from error
        days = None if fields[2] == "*" else sets[2]
        weekdays = None if fields[4] == "*" else frozenset(number % 7 for number in sets[4])
        return cls(sets[0], sets[1], days, sets[3], weekdays, place)

    def after(self, moment: float) -> float | None:
        """The first moment after another one, both in seconds since 1970; None when there is none for years."""
        begin = datetime.fromtimestamp(moment, UTC).astimezone(self.zone)
        for offset in range(_YEARS * 366):
            day = begin.date() + timedelta(days=offset)
            if day.month in self.months and self._on(day):
                for found in self._times(day):
                    if found > moment:
                        return found
        return None

    def _on(self, day: date) -> bool:
        by_number = self.days is not None and day.day in self.days
        by_name = self.weekdays is not None and day.isoweekday() % 7 in self.weekdays
        return by_number or by_name or (self.days is None and self.weekdays is None)

    def _times(self, day: date) -> Iterable[float]:
        """The moments of a day. A time that the clock leaves out in spring does not come."""
        found = []
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                if local.astimezone(UTC).astimezone(self.zone).hour == hour:
                    found.append(local.timestamp())
        return sorted(found)


def _numbers(field: str, low: int, high: int, names: Sequence[str]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no part of a schedule")
        step = int(match["step"] or 1)
        first = low if match["low"] is None else _number(match["low"], low, names)
        alone = match["low"] is not None and match["high"] is None and match["step"] is None
        last = first if alone else _number(match["high"], low, names) if match["high"] else high
        if not low <= first <= last <= high or step < 1:
            raise ValueError(f"{part!r} is not between {low} and {high}")
        found |= set(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, low: int, names: Sequence[str]) -> int:
    if text.isdigit():
        return int(text)
    if text not in names:
        raise ValueError(f"{text!r} is no number and no name")
    return names.index(text) + low
