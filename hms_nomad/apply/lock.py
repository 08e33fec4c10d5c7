"""One service -> its lock: a key of Consul held by a session, so that two commands do not do the same work twice.

The lock saves work and gives clear messages; what keeps the servers right is that every write compares and sets. A
holder that slept past its session's end loses there.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import NotFoundError, ServerError, UnavailableError, UnknownOutcomeError

LOCK_TTL_SECONDS = 10
"""Consul's shortest time to live. A session ends between this and twice this time after its last renewal."""

LONGEST_DEAD_LOCK_SECONDS = 2 * LOCK_TTL_SECONDS
"""How long the lock of a holder that died lasts at most."""

_RENEWALS = 3
_SCHEMA = 1
_WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process as another one on the same machine can find it; ``boot`` and ``space`` (of pids) say which machine."""

    boot: str
    space: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class Holder:
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
    """A session and, unless it works beside another command, the lock of one service. Made by ``acquire``."""

    def __init__(self, consul: ConsulClient, key: str, holder: Holder, *, held: bool) -> None:
        self._consul = consul
        self._key = key
        self.holder = holder
        self.held = held
        self._lost: LockLostError | None = None
        self._renewed = boot_clock()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lock {holder.service}", daemon=True)
        self._thread.start()
        # A command whose other threads die with it still gives their locks back.
        atexit.register(self.release)

    def check(self) -> None:
        """Raise LockLostError when the lock is gone; asks Consul when the last renewal is longer ago than it lasts."""
        if boot_clock() - self._renewed > LOCK_TTL_SECONDS:
            self._renew()
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Give the lock back; without an answer of Consul it ends by itself."""
        atexit.unregister(self.release)
        self._stop.set()
        with contextlib.suppress(ServerError):
            self._consul.destroy_session(self.holder.lock_id)
        self._thread.join(1)

    def _keep(self) -> None:
        while not self._stop.wait(LOCK_TTL_SECONDS / _RENEWALS):
            with contextlib.suppress(ServerError):
                self._renew()

    def _renew(self) -> None:
        with self._guard:
            if self._lost is not None or self._stop.is_set():
                return
            before = boot_clock()
            try:
                self._consul.renew_session(self.holder.lock_id)
            except NotFoundError:
                self._take_again()
            self._renewed = before

    def _take_again(self) -> None:
        """The session ended: whoever took the lock meanwhile keeps it, and one that was given back is not taken."""
        if self._stop.is_set():
            return
        lock_id, holder = _new_session(self._consul, self.holder)
        if self.held and not self._consul.kv_put(self._key, _bytes(holder), acquire=lock_id):
            self._lost = LockLostError(holder.service, read_lock(self._consul, self._key))
            return
        self.holder = holder
        if self._stop.is_set():
            # It was given back in these very moments, by the end of the session before.
            self._consul.destroy_session(lock_id)


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
) -> ServiceLock:
    """Take the lock at ``key``, waiting for another holder until ``deadline``, a value of ``time.monotonic()``.

    For a holder who wants just the same it waits until ``same_deadline``, because then there will be nothing to do.

    The lock of a process of this machine that is dead is taken at once. ``waiting`` hears for whom we wait. With
    ``beside`` the work goes on next to the holder, without the lock but with a session that shows it is alive, and
    without ``take`` it does so from the start. Raises LockedError and the errors of ``hms_nomad.clients.errors``,
    with UnavailableError for a lost answer, too: a lock that may be there all the same ends by itself.
    """
    lock_id, mine = _new_session(consul, holder)
    told = ""
    try:
        while take and not consul.kv_put(key, _bytes(mine), acquire=lock_id):
            pair = consul.kv_get(key)
            if pair is None:
                # It was given back this very moment.
                continue
            other = holder_from(pair.value) or _unknown(mine, pair.session)
            if _is_dead(other.process):
                consul.destroy_session(other.lock_id)
                continue
            if beside:
                return ServiceLock(consul, key, mine, held=False)
            same = bool(mine.aim) and other.aim == mine.aim
            remaining = (max(deadline, same_deadline) if same else deadline) - time.monotonic()
            if remaining <= 0:
                raise LockedError(other)  # noqa: TRY301 - the session is ended on the way out
            if told != other.lock_id:
                told = other.lock_id
                waiting(other)
            consul.renew_session(lock_id)
            consul.kv_wait(key, pair.modify_index, min(remaining, _WAIT_SECONDS / 2))
    except BaseException:
        with contextlib.suppress(ServerError):
            consul.destroy_session(lock_id)
        raise
    return ServiceLock(consul, key, mine, held=take)


def lock_key(namespace: str, service: str) -> str:
    """Key of a service's lock in Consul's store."""
    return f"hms-nomad/locks/{namespace}/{service}"


def read_lock(consul: ConsulClient, key: str) -> Holder | None:
    """Who holds the lock at ``key``; None when nobody does."""
    pair = consul.kv_get(key)
    return holder_from(pair.value) if pair and pair.session else None


def end_lock(consul: ConsulClient, holder: Holder) -> None:
    """End somebody's lock; a command that still works then takes it again, or stops where somebody else has it."""
    consul.destroy_session(holder.lock_id)


def list_locks(consul: ConsulClient, namespace: str) -> tuple[Holder, ...]:
    """Who holds which lock of a namespace, by service."""
    pairs = consul.kv_list(lock_key(namespace, ""))
    found = (holder_from(pair.value) for pair in pairs if pair.session)
    return tuple(sorted((holder for holder in found if holder), key=lambda holder: holder.service))


def is_alive(consul: ConsulClient, lock_id: str, process: Process) -> bool:
    """Whether a command still works: its session lives, and on this machine its process too."""
    return not _is_dead(process) and consul.session_info(lock_id) is not None


def this_process() -> Process:
    """The running process."""
    return Process(_boot(), _pid_space(), os.getpid(), _start_of(os.getpid()))


def process_from(fields: Mapping[str, Any]) -> Process:
    """A process from its stored fields."""
    return Process(str(fields["boot"]), str(fields["space"]), int(fields["pid"]), str(fields["started"]))


def holder_from(data: bytes) -> Holder | None:
    """The holder that was stored; None for what this version cannot read."""
    try:
        fields = json.loads(data)
        return Holder(
            service=str(fields["service"]),
            who=str(fields["who"]),
            command=str(fields["command"]),
            aim=str(fields["aim"]),
            since=float(fields["since"]),
            process=process_from(fields["process"]),
            lock_id=str(fields["lock_id"]),
        )
    except (ValueError, LookupError, TypeError):
        return None


def boot_clock() -> float:
    """Seconds since the machine started, the time that it slept included."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def _new_session(consul: ConsulClient, holder: Holder) -> tuple[str, Holder]:
    # No delay after the end of a session: what a dead holder had on its way loses by its index.
    lock_id = consul.create_session(f"hms-nomad {holder.service}", LOCK_TTL_SECONDS, 0, behavior="delete")
    fields = {name: getattr(holder, name) for name in Holder.__dataclass_fields__}
    return lock_id, Holder(**{**fields, "lock_id": lock_id})


def _unknown(mine: Holder, lock_id: str) -> Holder:
    """Who holds a lock whose record this version cannot read."""
    nobody = Process("", "", 0, "")
    return Holder(mine.service, "somebody", "another version of hms-nomad", "", time.time(), nobody, lock_id)


def _bytes(holder: Holder) -> bytes:
    return json.dumps({"schema": _SCHEMA, **asdict(holder)}).encode()


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
