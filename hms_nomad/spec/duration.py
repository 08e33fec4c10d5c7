"""Durations of the spec language: "500ms", "30s", "5m", "2h"."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from hms_nomad.patterns import lazy_pattern

_NANOSECONDS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_PATTERN = lazy_pattern(r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$")


@lru_cache(maxsize=1024)
def nanoseconds(text: str) -> int:
    """Nanoseconds of a duration like "1.5s". Raises ValueError for anything else."""
    match = _PATTERN.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write for example 500ms, 30s, 5m or 2h")
    return int(Decimal(match.group(1)) * _NANOSECONDS[match.group(2)])


def seconds(text: str) -> float:
    """Seconds of a duration like "500ms". Raises ValueError for anything else."""
    return nanoseconds(text) / 1_000_000_000
