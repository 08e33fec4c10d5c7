"""What several services of one command share, and write one after the other."""

from __future__ import annotations

import threading


class Turns:
    """A lock for each thing that is shared. Threads may share it; who takes one lock holds no other."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def of(self, name: str) -> threading.Lock:
        """The lock of what is called ``name``."""
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())
