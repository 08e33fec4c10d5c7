"""The locks of variables: who gets one when, by a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hms_nomad.dev.agent.http_variables import VariableRoutes, _LockedError
from hms_nomad.dev.agent.store import Store, variable_key
from hms_nomad.dev.agent.values import RefusedError

_PATH = "elected/one"
_KEY = variable_key("default", _PATH)
_WISH = {"Items": {"a": "1"}, "Lock": {"TTL": "10s", "LockDelay": 5_000_000_000}}


class Locks:
    """The routes, and a clock."""

    def __init__(self, file: Path) -> None:
        self.now = 1000.0
        self.store = Store(file)
        self.routes = VariableRoutes(SimpleNamespace(store=self.store, clock=lambda: self.now))  # type: ignore[arg-type]

    def acquire(self) -> str:
        """The id of the lock. Raises _LockedError."""
        return str(json.loads(self.routes._acquire(_KEY, _PATH, "default", _WISH).body)["Lock"]["ID"])

    def renew(self, lock: str) -> None:
        self.routes._renew(_KEY, {"Lock": {"ID": lock}})

    def release(self, lock: str) -> None:
        self.routes._release(_KEY, {"Lock": {"ID": lock}})


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[Locks]:
    found = Locks(tmp_path / "state.sqlite")
    yield found
    found.store.close()


def test_a_lock_that_is_renewed_stays_and_one_that_runs_out_is_free_after_its_delay(locks: Locks):
    first = locks.acquire()
    locks.now += 9
    locks.renew(first)
    locks.now += 9
    with pytest.raises(_LockedError):
        locks.acquire()
    locks.now += 2
    with pytest.raises(RefusedError, match="doesn't hold a lock"):
        locks.renew(first)
    with pytest.raises(_LockedError):
        locks.acquire()
    locks.now += 5

    assert locks.acquire() != first


def test_a_lock_that_is_given_back_is_free_at_once(locks: Locks):
    first = locks.acquire()
    with pytest.raises(RefusedError, match="locked variable"):
        locks.release("another")
    locks.release(first)

    assert locks.acquire() != first
    assert locks.store.tables["variables"][_KEY]["Items"] == {"a": "1"}


def test_a_lock_of_an_agent_before_runs_out_too(locks: Locks, tmp_path: Path):
    first = locks.acquire()
    locks.store.close()
    later = Locks(tmp_path / "state.sqlite")
    later.now = locks.now + 100
    later.renew(first)
    later.now += 12

    with pytest.raises(_LockedError):
        later.acquire()
    later.now += 5

    assert later.acquire() != first
    later.store.close()
