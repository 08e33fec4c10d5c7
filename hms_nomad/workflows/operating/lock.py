"""``lock``: who works on which service now, and ending a lock whose command died elsewhere."""

from __future__ import annotations

from msgspec import Struct

from hms_nomad.apply.lock import Holder, NoSuchLockError, end_lock, is_alive, list_locks, lock_key, read_lock
from hms_nomad.apply.run_journal import RunJournal, Unfinished
from hms_nomad.workflows.session import Session

SHORTEST_ID = 8
"""Characters of a lock id that are enough to mean it."""


class LockState(Struct, frozen=True):
    """One lock; ``alive`` is False where its command died and the lock only waits for its session's end."""

    holder: Holder
    alive: bool


class Work(Struct, frozen=True):
    """What is under way on a service: its lock (None: it is free) and runs that did not come to their end."""

    lock: LockState | None
    unfinished: tuple[Unfinished, ...]


def show_locks(session: Session, name: str | None = None) -> tuple[LockState, ...]:
    """The locks of the session's namespace, or that of one service. Raises ``hms_nomad.clients.errors``."""
    holders = list_locks(session.consul, session.platform.namespace)
    return tuple(_state(session, holder) for holder in holders if name in (None, holder.service))


def release_lock(session: Session, name: str, lock_id: str) -> Holder:
    """End the lock of a service whose id begins with ``lock_id``; answers who held it.

    A command that still works under it takes it again, or stops where somebody else was faster. Raises NoSuchLockError
    and the errors of ``hms_nomad.clients.errors``.
    """
    holder = read_lock(session.consul, lock_key(session.platform.namespace, name))
    if holder is None:
        raise NoSuchLockError(f"{name} is not locked")
    if len(lock_id) < SHORTEST_ID or not holder.lock_id.startswith(lock_id):
        raise NoSuchLockError(
            f"{name} has another lock than {lock_id!r}; see its id with: hms-nomad lock show {name} (its first "
            f"{SHORTEST_ID} characters are enough)"
        )
    end_lock(session.consul, holder)
    return holder


def work_on(session: Session, name: str) -> Work:
    """What is under way on a service. Raises ``hms_nomad.clients.errors``."""
    namespace = session.platform.namespace
    holder = read_lock(session.consul, lock_key(namespace, name))
    unfinished = RunJournal(session.consul, namespace, name).unfinished()
    return Work(_state(session, holder) if holder else None, unfinished)


def _state(session: Session, holder: Holder) -> LockState:
    return LockState(holder, is_alive(session.consul, holder.lock_id, holder.process))
