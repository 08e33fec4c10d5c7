"""Several services that are worked on a few at a time, and meet on the way: none goes on before all have come so far.

Each has a thread of its own, to which its lock and its journal are bound; who waits at the gate holds no place, so a
few places are enough for many services.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 10.0
"""How long those at the gate wait while nobody comes or ends: one call that hangs must not stop all the others."""


class Gate:
    """For ``coming`` services, of which ``places`` are worked on at once. To meet saves time, and nothing rests on it:
    where nobody comes or ends for ``patience`` seconds the gate opens for those that are there and all that follow.
    """

    def __init__(self, coming: int, places: int, patience: float = PATIENCE_SECONDS) -> None:
        self._places = threading.Semaphore(places)
        self._patience = patience
        self._changed = threading.Condition()
        self._coming = coming
        self._moved = time.monotonic()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Inside, one of the services is worked on; waits until there is a place. However it ends, nobody waits for it
        any longer.
        """
        self._places.acquire()
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
            self._places.release()

    def count(self) -> None:
        """One of the services came, or will never come."""
        with self._changed:
            self._coming -= 1
            self._moved = time.monotonic()
            if self._coming <= 0:
                self._changed.notify_all()

    def wait(self) -> None:
        """Until all have come, without a place meanwhile."""
        self._places.release()
        try:
            with self._changed:
                while self._coming > 0:
                    left = self._moved + self._patience - time.monotonic()
                    if left > 0:
                        self._changed.wait(left)
                        continue
                    self._coming = 0
                    self._changed.notify_all()
        finally:
            self._places.acquire()


class Place:
    """What one service has of a gate, for the thread that works on it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._counted = False

    def meet(self) -> None:
        """Come to the gate, and go on when the others are there, too; at once where this service came before."""
        if not self._counted:
            self.leave()
            self._gate.wait()

    def leave(self) -> None:
        """The others need not wait for this service (any longer)."""
        if not self._counted:
            self._counted = True
            self._gate.count()
