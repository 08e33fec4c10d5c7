"""A question -> its first good answer, for tests of what a server has no way to announce."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_TICK_SECONDS = 0.1


def eventually(ask: Callable[[], T], good: Callable[[T], bool] = bool, seconds: float = 60.0) -> T:
    """The first answer of ``ask`` that is ``good``. Raises AssertionError with the last one after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if good(answer):
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s; the last answer was {answer!r}")
        time.sleep(_TICK_SECONDS)
