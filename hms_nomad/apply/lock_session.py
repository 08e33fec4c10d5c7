"""One session of Consul for all locks of a command: made for the first of them, kept alive, and ended with the last."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Protocol

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import NotFoundError, ServerError

LOCK_TTL_SECONDS = 10
"""Consul's shortest time to live. A session ends between this and twice this time after its last renewal."""

_RENEWALS = 3


class Dependent(Protocol):
    """A lock that lives on the session."""

    def moved(self, session_id: str) -> None:
        """The session ended, and ``session_id`` came in its place: the lock has to be taken again."""


class LockSession:
    """Made without asking anybody; Consul is asked when the first lock needs it. Threads may share one."""

    def __init__(self, consul: ConsulClient) -> None:
        self._consul = consul
        self._guard = threading.RLock()
        self._users = 0
        self._locks: list[Dependent] = []
        self._id = ""
        self._coming: Future[str] | None = None
        self._renewed = 0.0
        self._stop = threading.Event()

    @property
    def shared(self) -> bool:
        """Whether others than one lock need the session, so that it outlives that lock."""
        return self._users > 1

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, a session that was made is not ended with the last lock, because more locks follow."""
        with self._guard:
            self._users += 1
        try:
            yield
        finally:
            self._leave()

    @contextlib.contextmanager
    def ahead(self, name: str) -> Iterator[None]:
        """Inside, the session is made, called ``name``, while other servers are asked; it ends at the end where no lock
        came to need it. A fault is raised where the lock enters.
        """
        with self._guard:
            self._users += 1
            if not self._id and self._coming is None:
                self._renewed = boot_clock()
                self._coming = Future()
                threading.Thread(target=self._bring, args=(self._coming, name), name="lock", daemon=True).start()
        try:
            yield
        finally:
            self._leave()

    def enter(self, name: str) -> str:
        """One user more; answers the session's id, and makes it, called ``name``, where there is none."""
        with self._guard:
            if not self._id:
                coming, self._coming = self._coming, None
                if coming is not None:
                    self._id = coming.result()
                else:
                    self._id = self._make(name)
                    self._renewed = boot_clock()
                self._stop = threading.Event()
                threading.Thread(target=self._keep, args=(self._stop,), name="locks", daemon=True).start()
                # A command whose other threads die with it still gives its locks back.
                atexit.register(self._end)
            self._users += 1
            return self._id

    def add(self, lock: Dependent) -> None:
        """A lock of a user hears of a session that ended."""
        with self._guard:
            self._locks.append(lock)

    def leave(self, lock: Dependent | None = None) -> bool:
        """One user less; True when it was the last, with which the session ended, and all that it held."""
        with self._guard:
            if lock in self._locks:
                self._locks.remove(lock)
        return self._leave()

    def check(self) -> None:
        """Ask Consul whether the session lives where the last renewal is longer ago than it lasts."""
        if boot_clock() - self._renewed > LOCK_TTL_SECONDS:
            self.renew()

    def renew(self) -> str:
        """Restart the session's time to live, or make a new one where it ended; answers its id."""
        with self._guard:
            if not self._id:
                return ""
            before = boot_clock()
            try:
                self._consul.renew_session(self._id)
            except NotFoundError:
                self._id = self._make("hms-nomad")
                for lock in self._locks:
                    lock.moved(self._id)
            self._renewed = before
            return self._id

    def _make(self, name: str) -> str:
        # No delay after the end of a session: what a dead holder had on its way loses by its index.
        return self._consul.create_session(name, LOCK_TTL_SECONDS, 0, behavior="delete")

    def _bring(self, coming: Future[str], name: str) -> None:
        try:
            coming.set_result(self._make(name))
        except Exception as error:  # noqa: BLE001 - it is raised where the session is needed
            coming.set_exception(error)

    def _keep(self, stop: threading.Event) -> None:
        while not stop.wait(LOCK_TTL_SECONDS / _RENEWALS):
            with contextlib.suppress(ServerError):
                self.renew()

    def _leave(self) -> bool:
        with self._guard:
            self._users -= 1
            if self._users:
                return False
            self._end()
            return True

    def _end(self) -> None:
        """Without an answer of Consul it ends by itself."""
        with self._guard:
            atexit.unregister(self._end)
            self._stop.set()
            ended, self._id = self._id, ""
            coming, self._coming = self._coming, None
            with contextlib.suppress(ServerError):
                ended = ended or (coming.result() if coming is not None else "")
                if ended:
                    self._consul.destroy_session(ended)


def boot_clock() -> float:
    """Seconds since the machine started, the time that it slept included."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
