"""The lock of a service: who gets it, who is told to wait, and whose death is recognised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from hms_nomad.apply.lock import (
    Holder,
    LockedError,
    LockLostError,
    Process,
    acquire,
    holder_from,
    is_alive,
    list_locks,
    lock_key,
    read_lock,
    this_process,
)
from hms_nomad.apply.lock_session import LockSession
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import Transaction
from hms_nomad.clients.errors import NotFoundError, UnavailableError, UnknownOutcomeError
from tests.unit.workflows.servers import FakeConsul

KEY = lock_key("default", "receipt-svc")
FAR = Process("another machine", "", 7, "1")


class Consul(FakeConsul):
    """Counts the waiting; the first wait ends with the lock's end."""

    waits = 0
    ended = False

    def renew_session(self, session_id: str) -> None:
        if self.ended:
            raise NotFoundError("consul", "renew session", self.address, "it has ended")

    def kv_wait(self, key: str, index: int, wait: float) -> None:
        self.waits += 1
        self.destroy_session(self.keys[key].session)


class Slow(FakeConsul):
    """The first session has ended, and the call ``kept`` of its renewal is answered only when it is ``let_go``."""

    def __init__(self, kept: str) -> None:
        super().__init__()
        self.kept = kept
        self.made = 0
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def renew_session(self, session_id: str) -> None:
        self._keep("renew_session")
        raise NotFoundError("consul", "renew session", self.address, "no such session")

    def create_session(self, *_: Any, **__: Any) -> str:
        self.made += 1
        if self.made > 1:
            self._keep("create_session")
        self.sessions.append(f"made-{self.made}")
        return self.sessions[-1]

    def kv_transact(self, *arguments: Any, **named: Any) -> Transaction:
        if self.made > 1:
            self._keep("kv_transact")
        return super().kv_transact(*arguments, **named)

    def _keep(self, call: str) -> None:
        if call == self.kept:
            self.asked.set()
            assert self.let_go.wait(60)


def holder(process: Process | None = None, aim: str = "", who: str = "ann@laptop") -> Holder:
    return Holder("receipt-svc", who, "deploy", aim, time.time(), process or this_process(), "")


def taken(consul: Any, by: Holder, seconds: float = 0.0, **others: Any) -> Any:
    return acquire(cast("ConsulClient", consul), KEY, by, time.monotonic() + seconds, **others)


def test_a_lock_is_held_until_it_is_given_back():
    consul = Consul()
    lock = taken(consul, holder())
    assert lock.held
    assert read_lock(cast("ConsulClient", consul), KEY) == lock.holder
    assert list_locks(cast("ConsulClient", consul), "default") == (lock.holder,)
    lock.release()
    assert consul.keys == {}
    assert consul.sessions == []


@pytest.mark.parametrize("kept", ["renew_session", "create_session", "kv_transact"])
def test_a_lock_that_is_given_back_while_it_is_renewed_is_not_left_taken(kept: str):
    consul = Slow(kept)
    shared = LockSession(cast("ConsulClient", consul))
    lock = taken(consul, holder(), session=shared)
    consul.destroy_session(lock.holder.lock_id)
    threads = [threading.Thread(target=work) for work in (shared.renew, lock.release)]
    threads[0].start()
    assert consul.asked.wait(60)
    threads[1].start()
    consul.let_go.set()
    for thread in threads:
        thread.join(60)
    assert consul.keys == {}
    assert consul.sessions == []


def test_the_second_learns_who_the_first_is_and_leaves_nothing_behind():
    consul = Consul()
    first = taken(consul, holder(FAR))
    with pytest.raises(LockedError, match=r"receipt-svc is locked: deploy by ann@laptop \(pid 7\)") as refused:
        taken(consul, holder(who="bob@desk"))
    assert refused.value.holder == first.holder
    assert consul.sessions == [first.holder.lock_id]
    first.release()


@pytest.mark.parametrize("call", ["create_session", "kv_transact"])
def test_a_lost_answer_before_the_lock_is_held_has_changed_nothing(monkeypatch: pytest.MonkeyPatch, call: str):
    consul = Consul()

    def lost(*_: object, **__: object) -> None:
        raise UnknownOutcomeError("consul", "take a lock", "http://127.0.0.1:8500", "no answer; it may have been done")

    monkeypatch.setattr(consul, call, lost)
    with pytest.raises(UnavailableError, match="the lock was not taken; nothing was changed"):
        taken(consul, holder())
    assert consul.sessions == []


def test_who_has_time_waits_and_says_for_whom():
    consul = Consul()
    first = taken(consul, holder(FAR))
    heard: list[Holder] = []
    second = taken(consul, holder(), 60.0, waiting=heard.append)
    assert heard == [first.holder]
    assert consul.waits == 1
    second.release()


def test_who_wants_the_same_waits_without_being_told_to():
    consul = Consul()
    taken(consul, holder(FAR, aim="d1"))
    with pytest.raises(LockedError):
        taken(consul, holder(aim="d2"), same_deadline=time.monotonic() + 60)
    taken(consul, holder(aim="d1"), same_deadline=time.monotonic() + 60).release()
    assert consul.waits == 1


def test_who_steers_works_beside_the_holder():
    consul = Consul()
    first = taken(consul, holder(FAR))
    second = taken(consul, holder(), beside=True)
    assert not second.held
    second.release()
    assert read_lock(cast("ConsulClient", consul), KEY) == first.holder


def test_the_lock_of_a_process_that_died_here_is_taken_at_once():
    consul = Consul()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = replace(this_process(), pid=ended.pid)
    first = taken(consul, holder(dead))
    assert not is_alive(cast("ConsulClient", consul), first.holder.lock_id, dead)
    second = taken(consul, holder())
    assert second.held
    assert consul.waits == 0
    second.release()


def test_a_process_with_the_same_number_is_not_the_same_process():
    consul = Consul()
    lock_id = consul.create_session("x", 10, 0)
    me = this_process()
    assert me.pid == os.getpid()
    assert is_alive(cast("ConsulClient", consul), lock_id, me)
    assert not is_alive(cast("ConsulClient", consul), lock_id, replace(me, started="1"))


def stored(**fields: Any) -> bytes:
    return json.dumps({**msgspec.to_builtins(holder()), **fields}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"service": 1}',
        b"[" * 100_000,
        stored(since=float("nan")),
        stored(since=float("inf")),
        stored(since=1e18),
        stored(since=-1.0),
        stored(process={"boot": "", "space": "", "pid": float("inf"), "started": ""}),
    ],
    ids=["empty", "object", "list", "bytes", "part", "deep", "nan", "infinite", "far", "before", "pid"],
)
def test_a_lock_of_another_version_names_nobody(data):
    assert holder_from(data) is None


def test_a_lock_whose_record_cannot_be_read_is_shown_by_its_session():
    consul = Consul()
    consul.sessions.append("theirs")
    consul.kv_put(KEY, b"[" * 100_000, acquire="theirs")
    (found,) = list_locks(cast("ConsulClient", consul), "default")
    assert (found.service, found.who, found.lock_id) == ("receipt-svc", "somebody", "theirs")
    assert read_lock(cast("ConsulClient", consul), KEY) is not None
    with pytest.raises(LockedError, match="lock id theirs"):
        taken(consul, holder())


@pytest.mark.parametrize("named", ["another", "../../kv/x"])
def test_the_session_of_a_dead_process_is_ended_and_not_the_one_that_its_record_names(named: str):
    consul = Consul()
    consul.sessions += ["theirs", named]
    dead = replace(this_process(), started="1")
    consul.kv_put(KEY, stored(process=msgspec.to_builtins(dead), lock_id=named), acquire="theirs")
    lock = taken(consul, holder())
    assert lock.held
    assert named in consul.sessions
    assert "theirs" not in consul.sessions
    lock.release()


def test_locks_of_one_command_share_a_session_that_ends_with_the_last():
    consul = Consul()
    shared = LockSession(cast("ConsulClient", consul))
    with shared.kept():
        assert consul.sessions == []
        locks = [
            acquire(cast("ConsulClient", consul), lock_key("default", name), holder(), time.monotonic(), session=shared)
            for name in ("a", "b")
        ]
        assert len(consul.sessions) == 1
        locks[0].release()
        assert list(consul.keys) == [lock_key("default", "b")]
        locks[1].release()
        assert (consul.keys, len(consul.sessions)) == ({}, 1)
    assert consul.sessions == []


def test_a_session_that_ended_is_replaced_and_what_somebody_else_took_meanwhile_is_lost():
    consul = Consul()
    shared = LockSession(cast("ConsulClient", consul))
    mine, other = (
        acquire(cast("ConsulClient", consul), lock_key("default", name), holder(), time.monotonic(), session=shared)
        for name in ("a", "b")
    )
    consul.destroy_session(mine.holder.lock_id)
    theirs = acquire(cast("ConsulClient", consul), lock_key("default", "b"), holder(FAR), time.monotonic())
    consul.ended = True
    shared.renew()
    mine.check()
    with pytest.raises(LockLostError, match="now it is held for deploy by ann@laptop"):
        other.check()
    assert read_lock(cast("ConsulClient", consul), lock_key("default", "a")) == mine.holder
    for lock in (mine, other):
        lock.release()
    assert list_locks(cast("ConsulClient", consul), "default") == (theirs.holder,)
    theirs.release()


def test_a_session_that_is_made_ahead_is_the_one_of_the_first_lock():
    consul = Consul()
    shared = LockSession(cast("ConsulClient", consul))
    with shared.ahead("hms-nomad receipt-svc"):
        lock = taken(consul, holder(), session=shared)
    assert consul.sessions == [lock.holder.lock_id]
    # The lock is alone on it, so it goes with the session.
    assert lock.steps() == ()
    lock.release()
    assert (consul.keys, consul.sessions) == ({}, [])


def test_a_session_that_no_lock_came_to_need_is_ended():
    consul = Consul()
    with LockSession(cast("ConsulClient", consul)).ahead("hms-nomad receipt-svc"):
        pass
    assert consul.sessions == []


def test_a_session_that_could_not_be_made_ahead_is_told_to_the_lock_alone(monkeypatch: pytest.MonkeyPatch):
    consul = Consul()

    def lost(*_: object, **__: object) -> None:
        raise UnavailableError("consul", "create a session", consul.address, "no leader")

    monkeypatch.setattr(consul, "create_session", lost)
    shared = LockSession(cast("ConsulClient", consul))
    with shared.ahead("hms-nomad receipt-svc"):
        pass
    with shared.ahead("hms-nomad receipt-svc"), pytest.raises(UnavailableError, match="no leader"):
        taken(consul, holder(), session=shared)
