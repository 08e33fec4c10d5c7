"""A service goes in the reverse order of its coming, and only what is ours goes."""

from __future__ import annotations

import pytest

from hms_nomad.clients.consul_types import KvPair
from hms_nomad.clients.errors import ConflictError, DeadlineExceededError
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.rollout.journal import Author, Journal, Rollout, journal_bytes, journal_key
from hms_nomad.rollout.policy import policy_of
from hms_nomad.rollout.release import releases_prefix
from hms_nomad.workflows.deploying.stop import StopOptions, plan_stop, stop
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, allocation, job, session

DENIED = {"Name": "*", "Action": "deny", "Description": "hms-nomad: default"}
CALLER = {"Name": "portal", "Action": "allow", "Description": "hms-nomad: allow"}
POST = [{"Action": "allow", "HTTP": {"PathPrefix": "/receipt", "Methods": ["POST"]}}]
USER = {"Name": "payment", "Permissions": POST, "Description": "hms-nomad: uses"}
OPERATOR = {"Name": "auditor", "Action": "allow", "Description": "by hand"}

JOURNAL = journal_key("default", "receipt")


def quiet(event):
    del event


def deployed(*, sources=(DENIED,)):
    """The receipt service, which uses the mailer, as a deploy leaves it."""
    nomad = FakeNomad(jobs={"receipt": job("receipt")}, allocations=[allocation("aaaaaaaa", "receipt")])
    consul = FakeConsul()
    for kind in ("service-defaults", "service-resolver", "http-route"):
        consul.store(kind, "receipt")
    match = {"HTTP": {"PathPrefix": "/receipt", "Methods": ["POST"]}}
    consul.store("service-router", "receipt", {"Routes": [{"Match": match}]})
    consul.store("service-intentions", "receipt", {"Sources": list(sources)})
    uses = {"Name": "receipt", "Action": "allow", "Description": "hms-nomad: uses"}
    consul.store("service-intentions", "mailer", {"Sources": [OPERATOR, uses]}, meta={"team": "mail"})
    return nomad, consul


def test_the_order_is_route_instances_rights_rules():
    nomad, consul = deployed()
    done = nomad.done = consul.done
    outcome = stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert outcome.changed
    assert done == [
        "delete http-route receipt",
        "stop receipt",
        "write service-intentions mailer",
        "delete service-intentions receipt",
        "delete service-router receipt",
        "delete service-resolver receipt",
        "delete service-defaults receipt",
    ]


def test_the_second_name_goes_after_the_route_and_before_what_it_leads_to():
    nomad, consul = deployed()
    for kind in ("service-defaults", "service-resolver"):
        consul.store(kind, "receipt_canary")
    stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert [line for line in consul.done if "intentions" not in line] == [
        "delete http-route receipt",
        "delete service-resolver receipt_canary",
        "delete service-defaults receipt_canary",
        "delete service-router receipt",
        "delete service-resolver receipt",
        "delete service-defaults receipt",
    ]


def test_all_routes_of_a_service_go_and_none_of_another():
    nomad, consul = deployed()
    for name in ("receipt_canary.11", "receipt.22", "receipt.405-33", "receipts.44", "receipt-svc.55"):
        consul.store("http-route", name)
    stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert sorted(name for kind, name in consul.entries if kind == "http-route") == ["receipt-svc.55", "receipts.44"]


def test_sources_of_operators_stay():
    nomad, consul = deployed(sources=(DENIED, CALLER, OPERATOR))
    stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert consul.entries["service-intentions", "mailer"].body["Sources"] == [OPERATOR]
    assert consul.entries["service-intentions", "mailer"].body["Meta"] == {"team": "mail"}
    assert consul.entries["service-intentions", "receipt"].body["Sources"] == [OPERATOR]


def test_a_right_that_a_caller_declared_stays_without_the_paths_that_are_gone():
    nomad, consul = deployed(sources=(DENIED, USER))
    outcome = stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert outcome.callers == ("payment",)
    (left,) = consul.entries["service-intentions", "receipt"].body["Sources"]
    assert (left["Name"], left["Action"]) == ("payment", "allow")
    assert ("service-defaults", "receipt") not in consul.entries


def test_rights_by_path_that_others_gave_keep_the_protocol():
    nomad, consul = deployed(sources=(DENIED, {"Name": "auditor", "Permissions": POST}))
    outcome = stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert outcome.foreign[0].startswith("service-defaults receipt")
    assert ("service-defaults", "receipt") in consul.entries


def test_the_second_time_there_is_nothing_to_do():
    nomad, consul = deployed(sources=(DENIED, USER, OPERATOR))
    stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    consul.done.clear()
    again = stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert (again.changed, again.removed, consul.done) == (False, (), [])


def test_purging_comes_last_and_also_after_a_plain_stop():
    nomad, consul = deployed()
    stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    outcome = stop(session(nomad, consul), "receipt", StopOptions(purge=True), quiet)
    assert outcome.purged
    assert nomad.done == ["stop receipt", "purge receipt"]
    assert not stop(session(nomad, consul), "receipt", StopOptions(purge=True), quiet).changed


def rolling(consul):
    """Leave a rollout under way, with the record of its release."""
    policy = policy_of(spec())
    author = Author("somebody@desk")
    rollout = Rollout(1, "r0", "r1", "d", "1.0.1", "1.0.0", policy, author, 0.0)
    consul.keys[JOURNAL] = KvPair(JOURNAL, journal_bytes(Journal(rollout)), 1, "")
    key = releases_prefix("default", "receipt") + "1"
    consul.keys[key] = KvPair(key, b"{}", 1, "")


def test_a_rollout_under_way_ends_before_the_instances_do():
    nomad, consul = deployed()
    rolling(consul)
    outcome = stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert outcome.removed.index("rollout of receipt ended") < outcome.removed.index("job receipt stopped")
    assert JOURNAL not in consul.keys
    assert not stop(session(nomad, consul), "receipt", StopOptions(), quiet).changed


def test_purging_forgets_the_records_also_when_the_job_is_gone():
    nomad, consul = deployed()
    rolling(consul)
    stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert consul.keys
    del nomad.jobs["receipt"]
    assert stop(session(nomad, consul), "receipt", StopOptions(purge=True), quiet).purged
    assert not consul.keys
    assert not stop(session(nomad, consul), "receipt", StopOptions(purge=True), quiet).changed


def test_what_is_not_ours_is_left_alone_and_named():
    nomad, consul = deployed()
    consul.store("service-defaults", "receipt", meta={"team": "ops"})
    outcome = stop(session(nomad, consul), "receipt", StopOptions(), quiet)
    assert outcome.foreign == ("service-defaults receipt",)
    assert ("service-defaults", "receipt") in consul.entries
    nomad.jobs["legacy"] = job("legacy", meta={})
    with pytest.raises(ForeignObjectError):
        plan_stop(session(nomad, consul), "legacy", StopOptions())


def test_a_lost_race_is_run_again_and_a_war_is_not():
    nomad, consul = deployed()
    consul.conflicts = 3
    assert stop(session(nomad, consul), "receipt", StopOptions(), quiet).changed
    nomad, consul = deployed()
    consul.conflicts = 99
    with pytest.raises(ConflictError):
        stop(session(nomad, consul), "receipt", StopOptions(), quiet)


def test_instances_that_do_not_end_keep_the_mesh_rules(monkeypatch):
    nomad, consul = deployed()
    monkeypatch.setattr(nomad, "stop_job", lambda name, purge=False: "evaluation")
    with pytest.raises(DeadlineExceededError, match=r"1 instances of receipt have not ended in time \(aaaaaaaa\)"):
        stop(session(nomad, consul), "receipt", StopOptions(timeout=0.0), quiet)
    assert ("service-defaults", "receipt") in consul.entries
