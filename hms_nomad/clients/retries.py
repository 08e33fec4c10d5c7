"""How many repetitions one command may spend, over all servers and threads: retries must not become the load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_AT_START = 30.0
_PER_SUCCESS = 0.1


class RetryBudget:
    """Each repetition takes one, each call that ends well gives back a tenth, up to what there was at the start.

    So a server that fails one call in a hundred is asked again each time, and one that fails always only a few times.
    """

    def __init__(self, tokens: float = _AT_START) -> None:
        """``tokens`` repetitions are there at the start, and at most."""
        self._most = tokens
        self._left = tokens
        self._lock = threading.Lock()
        self._patient: list[float] = []

    @property
    def patience_seconds(self) -> float:
        """How long one call may be tried again at least, whatever its connection says."""
        return max(self._patient, default=0.0)

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Inside, calls are tried again for this long at least: a command is in the midst of its changes."""
        self._patient.append(seconds)
        try:
            yield
        finally:
            self._patient.remove(seconds)

    def take(self) -> bool:
        """One repetition; False when there is none left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def earn(self) -> None:
        """A call ended well."""
        with self._lock:
            self._left = min(self._most, self._left + _PER_SUCCESS)
