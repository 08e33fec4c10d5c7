"""One service -> its lock: a key of Consul held by a session, so that two commands do not do the same work twice.

The lock saves work and gives clear messages; what keeps the servers right is that every write compares and sets. A
holder that slept past its session's end loses there.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.lock_session import LOCK_TTL_SECONDS, LockSession
from hms_nomad.apply.moments import moment_from
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvPair, KvStep, Transaction, drop_lock, take_lock
from hms_nomad.clients.errors import ServerError, UnavailableError, UnknownOutcomeError

LONGEST_DEAD_LOCK_SECONDS = 2 * LOCK_TTL_SECONDS
"""How long the lock of a holder that died lasts at most."""

_SCHEMA = 1
_WAIT_SECONDS = 10.0


class Process(Struct, frozen=True):
    """A process as another one on the same machine can find it; ``boot`` and ``space`` (of pids) say which machine."""

    boot: str
    space: str
    pid: int
    started: str


_NOBODY = Process("", "", 0, "")


class Holder(Struct, frozen=True):
    """Who works on a service: ``command`` is what for, ``since`` seconds since 1970, ``lock_id`` the session.

    ``aim`` names what is wanted, so that another command that wants just that can wait for it.
    """

    service: str
    who: str
    command: str
    aim: str
    since: float
    process: Process
    lock_id: str

    def __str__(self) -> str:
        begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.since))
        ago = max(0, int(time.time() - self.since))
        return f"{self.command} by {self.who} (pid {self.process.pid}), since {begun} ({ago} s ago)"


class LockedError(Exception):
    """Another command works on the service."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(
            f"{holder.service} is locked: {holder}; wait for it with --lock-wait 2m. If that command died, its lock "
            f"ends by itself within {LONGEST_DEAD_LOCK_SECONDS} s; lock id {holder.lock_id}"
        )
        self.holder = holder


class NoSuchLockError(Exception):
    """The service is not locked, or another lock is meant."""


class LockLostError(Exception):
    """The lock ended under a running command and somebody else took it; what was written until then stays."""

    def __init__(self, service: str, holder: Holder | None) -> None:
        now = f"now it is held for {holder}" if holder else "and it could not be taken again"
        super().__init__(
            f"the lock of {service} was lost, {now}; nothing more is written. Run the same command again: it looks at "
            "what is there first"
        )
        self.holder = holder


class ServiceLock:
    """The lock of one service, or, beside another command, only a session that shows that this one is alive.

    Made by ``acquire``; ``read`` is what was read when the lock was taken, and ``opened`` what was written with it.
    """

    def __init__(
        self,
        consul: ConsulClient,
        key: str,
        holder: Holder,
        session: LockSession,
        *,
        held: bool,
        read: tuple[KvPair, ...] = (),
        opened: tuple[KvPair, ...] = (),
    ) -> None:
        self._consul = consul
        self._key = key
        self._session = session
        self._lost: LockLostError | None = None
        self._given_back = not held
        self.holder = holder
        self.held = held
        self.read = read
        self.opened = opened
        session.add(self)

    def check(self) -> None:
        """Raise LockLostError when the lock is gone; asks Consul when the last renewal is longer ago than it lasts."""
        self._session.check()
        if self._lost is not None:
            raise self._lost

    def steps(self) -> tuple[KvStep, ...]:
        """The steps that give the lock back as a part of another transaction; none where the session's end does it."""
        if self._given_back or not self._session.shared:
            return ()
        return drop_lock(self._key, self.holder.lock_id)

    def given_back(self) -> None:
        """The ``steps`` were done."""
        self._given_back = True

    def release(self) -> None:
        """Give the lock back; without an answer of Consul it ends with the command."""
        steps = self.steps()
        if not self._session.leave(self) and steps:
            with contextlib.suppress(ServerError):
                self._consul.kv_transact(f"give back the lock of {self.holder.service}", steps)

    def moved(self, session_id: str) -> None:
        """See Dependent: whoever took the lock meanwhile keeps it."""
        if self._lost is not None or self._given_back:
            return
        holder = replace(self.holder, lock_id=session_id)
        if not _take(self._consul, self._key, holder).done:
            self._lost = LockLostError(holder.service, read_lock(self._consul, self._key))
            return
        self.holder = holder


@contextlib.contextmanager
def _nothing_changed() -> Iterator[None]:
    """An answer that was lost before the lock is held has left no change that anybody would have to look for."""
    try:
        yield
    except UnknownOutcomeError as lost:
        detail = "no answer in time, so the lock was not taken; nothing was changed"
        raise UnavailableError(lost.server, lost.operation, lost.address, detail, lost.status, transient=True) from lost


@_nothing_changed()
def acquire(
    consul: ConsulClient,
    key: str,
    holder: Holder,
    deadline: float,
    waiting: Callable[[Holder], None] = lambda _: None,
    *,
    beside: bool = False,
    take: bool = True,
    same_deadline: float = 0.0,
    session: LockSession | None = None,
    reading: Sequence[KvStep] = (),
    opening: Callable[[Holder], Sequence[KvStep]] | None = None,
) -> ServiceLock:
    """Take the lock at ``key``, waiting for another holder until ``deadline``, a value of ``time.monotonic()``.

    For a holder who wants just the same it waits until ``same_deadline``, because then there will be nothing to do.

    The lock of a process of this machine that is dead is taken at once. ``waiting`` hears for whom we wait. With
    ``beside`` the work goes on next to the holder, without the lock but with a session that shows it is alive, and
    without ``take`` it does so from the start. ``session`` is the one that the command's locks share. ``reading`` are
    steps that read something at the moment when the lock is taken, and ``opening`` makes some that write something at
    that moment, which are left out where they are refused. Raises LockedError and the errors of
    ``hms_nomad.clients.errors``, with UnavailableError for a lost answer, too: a lock that may be there all the same
    ends by itself.
    """
    shared = session or LockSession(consul)
    mine = replace(holder, lock_id=shared.enter(f"hms-nomad {holder.service}"))
    told = ""
    read: tuple[KvPair, ...] = ()
    written: tuple[KvPair, ...] = ()
    try:
        while take:
            opened = opening(mine) if opening is not None else ()
            taken = _take(consul, key, mine, (*reading, *opened))
            if opened and not taken.done and 0 not in taken.refused:
                opening = None
                continue
            if taken.done:
                keys = {step.key for step in opened}
                read = tuple(pair for pair in taken.pairs if pair.key not in keys)
                written = tuple(pair for pair in taken.pairs if pair.key in keys)
                break
            pair = consul.kv_get(key)
            if pair is None:
                # It was given back this very moment, or our own session is gone.
                mine = replace(mine, lock_id=shared.renew())
                continue
            other = holder_of(pair)
            if pair.session and _is_dead(other.process):
                consul.destroy_session(pair.session)
                continue
            if beside:
                take = False
                break
            same = bool(mine.aim) and other.aim == mine.aim
            remaining = (max(deadline, same_deadline) if same else deadline) - time.monotonic()
            if remaining <= 0:
                raise LockedError(other)  # noqa: TRY301 - the session is left on the way out
            if told != other.lock_id:
                told = other.lock_id
                waiting(other)
            consul.kv_wait(key, pair.modify_index, min(remaining, _WAIT_SECONDS / 2))
    except BaseException:
        shared.leave()
        raise
    return ServiceLock(consul, key, mine, shared, held=take, read=read, opened=written)


def lock_key(namespace: str, service: str) -> str:
    """Key of a service's lock in Consul's store."""
    return f"hms-nomad/locks/{namespace}/{service}"


def read_lock(consul: ConsulClient, key: str) -> Holder | None:
    """Who holds the lock at ``key``; None when nobody does."""
    pair = consul.kv_get(key)
    return holder_of(pair) if pair and pair.session else None


def end_lock(consul: ConsulClient, holder: Holder) -> None:
    """End somebody's lock; a command that still works then takes it again, or stops where somebody else has it."""
    consul.destroy_session(holder.lock_id)


def list_locks(consul: ConsulClient, namespace: str) -> tuple[Holder, ...]:
    """Who holds which lock of a namespace, by service."""
    pairs = consul.kv_list(lock_key(namespace, ""))
    return tuple(sorted((holder_of(pair) for pair in pairs if pair.session), key=lambda holder: holder.service))


def is_alive(consul: ConsulClient, lock_id: str, process: Process) -> bool:
    """Whether a command still works: its session lives, and on this machine its process too."""
    return not _is_dead(process) and consul.session_info(lock_id) is not None


def this_process() -> Process:
    """The running process."""
    return Process(_boot(), _pid_space(), os.getpid(), _start_of(os.getpid()))


def process_from(fields: Mapping[str, Any]) -> Process:
    """A process from its stored fields."""
    return Process(str(fields["boot"]), str(fields["space"]), int(fields["pid"]), str(fields["started"]))


def holder_of(pair: KvPair) -> Holder:
    """Who holds the lock at a key; somebody, where this version cannot read the record.

    The session is the one that Consul names: a record can say anything, and a session that is not the lock's own would
    be ended in vain again and again.
    """
    found = holder_from(pair.value)
    if found is None:
        service = pair.key.rpartition("/")[2]
        return Holder(service, "somebody", "another version of hms-nomad", "", time.time(), _NOBODY, pair.session)
    return replace(found, lock_id=pair.session or found.lock_id)


def holder_from(data: bytes) -> Holder | None:
    """The holder that was stored; None for what this version cannot read."""
    try:
        fields = json.loads(data)
        return Holder(
            service=str(fields["service"]),
            who=str(fields["who"]),
            command=str(fields["command"]),
            aim=str(fields["aim"]),
            since=moment_from(fields["since"]),
            process=process_from(fields["process"]),
            lock_id=str(fields["lock_id"]),
        )
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _take(consul: ConsulClient, key: str, holder: Holder, reading: Sequence[KvStep] = ()) -> Transaction:
    steps = (take_lock(key, _bytes(holder), holder.lock_id), *reading)
    return consul.kv_transact(f"lock {holder.service}", steps)


def _bytes(holder: Holder) -> bytes:
    return json.dumps({"schema": _SCHEMA, **msgspec.to_builtins(holder)}).encode()


def _is_dead(process: Process) -> bool:
    """True only where this machine can be sure."""
    if not process.started or not process.boot or (process.boot, process.space) != (_boot(), _pid_space()):
        return False
    return _start_of(process.pid) != process.started


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _pid_space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """The clock tick at which a process started; "" when there is none, or only a dead one left unburied."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
