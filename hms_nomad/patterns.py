"""Regular expressions that cost nothing before they are used: a command asks few of those that its modules have."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Pattern:
    """Stands for a pattern; becomes one, for good, when it is asked for the first time."""

    def __init__(self, text: Any, flags: int) -> None:
        self._text, self._flags = text, flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, value)
        return value


def lazy_pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """What ``re.compile`` answers, compiled at its first use. A mistake in it shows only then."""
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))
