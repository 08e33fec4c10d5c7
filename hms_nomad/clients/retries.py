"""How many repetitions one command may spend, over all servers and threads: retries must not become the load."""

from __future__ import annotations

import threading

_AT_START = 30.0
_PER_SUCCESS = 0.1


class RetryBudget:
    """Each repetition takes one, each call that ends well gives back a tenth, up to what there was at the start.

    So a server that fails one call in a hundred is asked again each time, and one that fails always only a few times.
    ``patience_seconds`` raises the time that one call may be tried again, for a command in the midst of its changes.
    """

    def __init__(self, tokens: float = _AT_START) -> None:
        """``tokens`` repetitions are there at the start, and at most."""
        self._most = tokens
        self._left = tokens
        self._lock = threading.Lock()
        self.patience_seconds = 0.0

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
