"""What stands in Consul's store of releases and rollouts when somebody else wrote it."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec
import pytest

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.rollout.journal import Journal, JournalError, Rejection, journal_bytes, journal_from
from hms_nomad.rollout.release import release_from, releases_prefix
from hms_nomad.rollout.store import RolloutStore
from tests.unit.workflows.servers import FakeConsul

DEEP = b'{"x": ' + b"[" * 100_000


def rejected(when: Any) -> bytes:
    body = msgspec.to_builtins(Journal(rejected=(Rejection("r1", "1.0.0", "slow", "ann@laptop", 0.0),)))
    body["rejected"][0]["when"] = when
    return json.dumps(body).encode()


@pytest.mark.parametrize("data", [DEEP, b"", b"\xff", rejected(1e300), rejected(-1), rejected("x")])
def test_a_spoilt_journal_is_named_and_no_fault_of_ours(data):
    with pytest.raises(JournalError, match="the key K in Consul"):
        journal_from(data, "K")


def test_a_journal_that_is_whole_is_read():
    assert journal_from(rejected(1.0), "K").rejection("r1") is not None
    assert journal_from(journal_bytes(Journal()), "K") == Journal()


def test_a_spoilt_release_is_no_release():
    assert release_from(DEEP) is None


def test_keys_that_are_no_numbers_do_not_stop_a_deploy():
    consul = FakeConsul()
    for name in ("abc", "00000003", "", "-7"):
        consul.kv_put(f"{releases_prefix('default', 'receipt-svc')}{name}", b"{}")
    store = RolloutStore(cast("ConsulClient", consul), "default", "receipt-svc")
    assert store.kept().newest == 3
    assert store.releases() == ()
