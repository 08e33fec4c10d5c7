"""What counts as left behind, and what only looks like it."""

from __future__ import annotations

import json
import time

import msgspec
from msgspec.structs import replace

from hms_nomad.apply.lock import Holder, Process, lock_key, this_process
from hms_nomad.apply.run_journal import Run, runs_prefix
from hms_nomad.clients.consul_types import KvPair
from hms_nomad.rollout.journal import Author, Journal, Rollout, journal_bytes, journal_key
from hms_nomad.rollout.policy import Policy
from hms_nomad.workflows.operating.orphans import find_orphans
from tests.unit.workflows.servers import FakeConsul, FakeNomad, job, session, sidecar

DEAD = replace(this_process(), pid=2**22 + 1, started="1")
FAR = Process("another machine", "", 7, "1")
POLICY = Policy("canary", (10.0, 100.0), (0.0, 0.0), 99.0, None, 1, "hold", 5.0, 60.0)
ROLLOUT = Rollout(1, "r1", "r2", "d", "2.0.0", "1.0.0", POLICY, Author("ann@laptop"), 0.0)


def found(consul: FakeConsul, *jobs: str, name: str | None = None) -> list[tuple[str, str, str]]:
    nomad = FakeNomad(jobs={one: job(one) for one in jobs})
    return [(one.kind, one.service, one.remedy) for one in find_orphans(session(nomad, consul), name)]


def put(consul: FakeConsul, key: str, value: bytes, held_by: str = "") -> None:
    consul.keys[key] = KvPair(key, value, 1, held_by)


def lock(consul: FakeConsul, service: str, process: Process, session_id: str) -> None:

    holder = Holder(service, "ann@laptop", "deploy", "", time.time(), process, session_id)
    put(
        consul,
        lock_key("default", service),
        json.dumps({"schema": 1, **msgspec.to_builtins(holder)}).encode(),
        session_id,
    )


def run(consul: FakeConsul, service: str, process: Process, lock_id: str, ended: str = "") -> None:
    record = Run("id", service, "default", "deploy", "ann@laptop", "", process, lock_id, 1.0, ended=ended)
    put(consul, f"{runs_prefix('default', service)}id", msgspec.json.encode(record))


def test_servers_that_hold_what_runs_hold_no_orphans():
    consul = FakeConsul()
    consul.store("service-defaults", "receipt-svc")
    consul.store("service-intentions", "receipt-svc", {"Sources": [{"Name": "web", "Description": "hms-nomad: uses"}]})
    put(consul, journal_key("default", "receipt-svc"), journal_bytes(Journal()))
    assert found(consul, "receipt-svc", "web") == []


def test_runs_that_died_or_gave_up_are_named_and_living_ones_are_not():
    consul = FakeConsul(sessions=["lives"])
    run(consul, "dead-svc", DEAD, "lives")
    run(consul, "gave-up-svc", this_process(), "lives", ended="ran out of time")
    run(consul, "living-svc", this_process(), "lives")
    run(consul, "far-svc", FAR, "no session any more")
    assert {(kind, service) for kind, service, _ in found(consul)} == {
        ("run", "dead-svc"),
        ("run", "gave-up-svc"),
        ("run", "far-svc"),
    }
    assert found(consul, name="dead-svc") == [("run", "dead-svc", "hms-nomad deploy SPEC")]


def test_a_lock_whose_holder_is_dead_is_named_with_the_way_to_release_it():
    consul = FakeConsul(sessions=["one", "two"])
    lock(consul, "dead-svc", DEAD, "one")
    lock(consul, "living-svc", FAR, "two")
    assert found(consul) == [("lock", "dead-svc", "hms-nomad lock release dead-svc --id one")]


def test_a_rollout_that_nobody_drives_is_named_unless_it_is_paused():
    consul = FakeConsul(sessions=["one"])
    for service, paused in (("stuck-svc", False), ("paused-svc", True), ("driven-svc", False)):
        journal = Journal(replace(ROLLOUT, paused=paused))
        put(consul, journal_key("default", service), journal_bytes(journal))
    lock(consul, "driven-svc", FAR, "one")
    assert found(consul) == [("rollout", "stuck-svc", "hms-nomad resume stuck-svc")]


def test_a_journal_that_another_version_wrote_is_named():
    consul = FakeConsul()
    put(consul, journal_key("default", "odd-svc"), b"{")
    assert found(consul) == [("rollout", "odd-svc", "hms-nomad history odd-svc")]


def test_entries_of_a_service_without_a_job_are_named_and_those_of_others_are_not():
    consul = FakeConsul(sidecars=[sidecar("a1", "elsewhere")], sessions=["one"])
    consul.store("service-router", "gone-svc")
    consul.store("service-router", "theirs", meta={})
    consul.store("service-router", "begun-svc")
    consul.store("service-resolver", "elsewhere-sidecar-proxy")
    consul.store("service-defaults", "card-network", meta={"managed-by": "hms-nomad", "external": "a.example:443"})
    lock(consul, "begun-svc", FAR, "one")
    assert found(consul) == [("entry", "gone-svc", "hms-nomad stop gone-svc")]


def test_a_second_name_belongs_to_its_service():
    consul = FakeConsul()
    consul.store("service-resolver", "receipt-svc_canary")
    assert found(consul, "receipt-svc") == []
    assert found(consul) == [("entry", "receipt-svc", "hms-nomad stop receipt-svc")]


def test_the_protocol_of_a_stopped_service_stays_as_long_as_callers_have_rights_by_path():
    consul = FakeConsul()
    consul.store("service-defaults", "gone-svc")
    rights = {"Name": "web", "Description": "hms-nomad: uses", "Permissions": [{"Action": "allow"}]}
    consul.store("service-intentions", "gone-svc", {"Sources": [rights]})
    assert found(consul, "web") == []


def test_rights_that_were_declared_by_a_spec_without_a_job_are_named():
    consul = FakeConsul()
    sources = [
        {"Name": "gone-svc", "Description": "hms-nomad: uses", "Action": "allow"},
        {"Name": "web", "Description": "hms-nomad: allow", "Action": "allow"},
        {"Name": "by-hand", "Description": "for the night shift", "Action": "allow"},
    ]
    consul.store("service-intentions", "receipt-svc", {"Sources": sources})
    consul.store("service-intentions", "lost-svc", {"Sources": sources[1:]})
    assert found(consul, "receipt-svc", "web") == [
        ("right", "gone-svc", "hms-nomad stop gone-svc"),
        ("right", "lost-svc", "hms-nomad stop lost-svc"),
    ]
