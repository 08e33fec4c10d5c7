"""Times that were stored: what somebody else wrote into them can be any number, or none."""

from __future__ import annotations

from typing import Any

_LATEST_MOMENT = 253_402_300_799
"""The end of the year 9999 in seconds since 1970: a later time cannot be shown."""


def moment_from(value: Any) -> float:
    """A stored time in seconds since 1970. Raises ValueError for one that no calendar has."""
    seconds = float(value)
    if not 0 <= seconds <= _LATEST_MOMENT:
        raise ValueError(value)
    return seconds
