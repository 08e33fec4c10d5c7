"""How many calls a plan takes: as many for one service as for many, and one for each job that somebody touched."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from hms_nomad.apply.lock import list_locks
from hms_nomad.apply.registered import note_registration, read_registered
from hms_nomad.clients.nomad_types import Job, Registration
from hms_nomad.clients.transport import ask_permit
from hms_nomad.compile import compile_spec
from hms_nomad.compile.job import with_count
from hms_nomad.compile.scaling import HOLD_KEY
from hms_nomad.plan.diff import make_plan
from hms_nomad.platform.model import Platform
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.workflows.deploying.outcome import DeployOptions
from hms_nomad.workflows.deploying.waves import deploy_all
from hms_nomad.workflows.operating.audit import verify_audit
from hms_nomad.workflows.planning.plan import plan
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile
from tests.unit.plan.test_plan import NOTHING
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, updated

WRITES = {"write_entry", "kv_put", "kv_transact", "register_job"}


class Counted:
    """Passes calls on, and counts them by name; writes ask for leave as those of the clients do."""

    def __init__(self, server):
        self._server = server
        self.calls = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name):
        found = getattr(self._server, name)
        if not callable(found):
            return found

        def call(*given, **named):
            if name in WRITES:
                ask_permit(name)
            with self._lock:
                self.calls[name] += 1
                return found(*given, **named)

        return call


def fleet(count, **fields):
    """Specs, and a session on servers that hold what they stand for."""
    specs = [spec(name=f"svc-{number}", **fields) for number in range(count)]
    nomad, consul = FakeNomad(), FakeConsul()
    for one in specs:
        for change in make_plan(compile_spec(one, Platform()), NOTHING).changes:
            if change.kind == "job":
                body = change.body
                nomad.jobs[one.name] = Job(
                    one.name, one.name, "default", "service", "running", False, 0, 7, True, body["Meta"], body
                )
            else:
                consul.store(change.kind, change.name, change.body, change.body.get("Meta"))
        note_registration(nomad, consul, updated(one.name), Registration("", 7, ""))
    session = Session(Platform(), Counted(nomad), Counted(consul), None)
    return specs, session


@pytest.mark.parametrize("count", [2, 40])
def test_a_plan_with_nothing_to_do_asks_each_server_as_little_as_it_can(count):
    specs, session = fleet(count)
    assert all(one.empty for one in plan(session, specs))
    assert session.consul.calls == {"list_entries": 6, "kv_list": 1}
    assert session.nomad.calls == {"list_jobs": 1, "list_deployments": 1}


def test_a_job_that_was_written_since_our_deploy_is_read_and_its_change_found():
    specs, session = fleet(40)
    edited = session.nomad.jobs["svc-3"]
    session.nomad.jobs["svc-3"] = replace(edited, modify_index=8, body=edited.body | {"Priority": 70})
    scaled = session.nomad.jobs["svc-4"]
    body = with_count(scaled.body, 1, 1)
    body["TaskGroups"][0]["Tasks"] = [body["TaskGroups"][0]["Tasks"][0] | {"Driver": "exec"}]
    session.nomad.jobs["svc-4"] = replace(scaled, modify_index=9, body=body)
    assert [one.service for one in plan(session, specs, ask_scheduler=False) if not one.empty] == ["svc-4"]
    assert session.nomad.calls["read_job"] == 2


def test_without_notes_every_job_is_read_and_nothing_else_is_different():
    specs, session = fleet(5)
    session.consul.keys.clear()
    assert all(one.empty for one in plan(session, specs))
    assert session.nomad.calls == {"list_jobs": 1, "list_deployments": 1, "read_job": 5}


def test_what_changed_is_compared_with_the_job_itself():
    specs, session = fleet(3)
    changed = [spec(name="svc-1", description="changed"), *specs[2:]]
    first, second = plan(session, changed, ask_scheduler=False)
    assert "UI.Description" in [field.path for change in first.effective for field in change.fields]
    assert second.empty


def test_a_held_count_is_not_in_the_digest_so_such_a_job_gets_no_note():
    _, session = fleet(1)
    session.consul.keys.clear()
    job = session.nomad.jobs["svc-0"]
    held = with_count(job.body, 1, 1)
    group = held["TaskGroups"][0]
    group["Scaling"] = group["Scaling"] | {"Policy": group["Scaling"]["Policy"] | {HOLD_KEY: []}}
    session.nomad.jobs["svc-0"] = replace(job, body=held)
    note_registration(session.nomad, session.consul, updated("svc-0"), Registration("", 7, ""))
    assert read_registered(session.consul, "default") == {}


def test_only_registrations_are_put_before_the_scheduler():
    specs, session = fleet(40)
    changed = [spec(name=one.name, version="2.0.0") if number < 5 else one for number, one in enumerate(specs)]
    assert sum(not one.empty for one in plan(session, changed)) == 5
    assert session.nomad.calls["plan_job"] == 5


@pytest.mark.parametrize("count", [2, 40])
def test_a_deploy_with_nothing_to_do_asks_no_more_than_a_plan_and_writes_nothing(count):
    specs, session = fleet(count)
    files = [SpecFile(f"{one.name}.hms.yml", one) for one in specs]
    told = []
    results = deploy_all(session, files, lambda _: SimpleNamespace(detach=False), lambda _: None, told.append)
    assert {str(result.outcome.status) for result in results} == {"unchanged"}
    assert len(told) == count
    assert session.consul.calls == {"list_entries": 6, "kv_list": 2, "all_checks": 1}
    assert session.nomad.calls == {"list_jobs": 1, "list_deployments": 1}


@pytest.mark.parametrize("count", [2, 40])
def test_a_new_service_of_a_fleet_costs_its_own_writes_and_a_few_transactions(count):
    """The lock with journal and record, what was done before the job, and the end with audit and lock."""
    specs, session = fleet(count)
    session.consul.entries.clear()
    session.consul.keys.clear()
    session.nomad.jobs.clear()
    files = [SpecFile(f"{one.name}.hms.yml", one) for one in specs]
    results = deploy_all(session, files, lambda _: DeployOptions(detach=True), lambda _: None, lambda _: None)
    assert {str(result.outcome.status) for result in results} == {"detached"}
    assert session.nomad.calls == {"list_jobs": 1, "list_deployments": 1, "register_job": count}
    read = {"list_entries": 6, "kv_list": 3, "kv_get": 1, "all_checks": 1}
    once = {"create_session": 1, "destroy_session": 1}
    written = {"write_entry": 4 * count, "kv_transact": 3 * count}
    assert session.consul.calls == read | once | written
    assert list_locks(session.consul, "default") == ()
    assert all(one.empty for one in plan(session, specs))
    assert session.nomad.calls["read_job"] == 0
    assert verify_audit(session).wrong == ()


@pytest.mark.parametrize("what", ["entries", "record"])
def test_a_service_that_somebody_began_since_all_were_read_is_read_again(what):
    specs, session = fleet(1)
    session.nomad.jobs.clear()
    session.consul.keys.clear()
    made = dict(session.consul.entries)
    session.consul.entries.clear()
    files = [SpecFile(f"{specs[0].name}.hms.yml", specs[0])]

    def meanwhile(_):
        if what == "entries":
            session.consul.entries.update(made)
        else:
            session.consul.kv_put("hms-nomad/releases/default/svc-0/00000001", b"{}")
        return DeployOptions(detach=True)

    (result,) = deploy_all(session, files, meanwhile, lambda _: None, lambda _: None)
    assert str(result.outcome.status) == "detached", result.error
    assert session.nomad.calls["register_job"] == 1
    assert session.nomad.calls["read_job"] > 0
    assert result.outcome.number == 2


@pytest.mark.parametrize(("image", "asked"), [("registry.gov/svc@sha256:" + "0" * 64, 0), (None, 1)])
def test_whether_there_is_a_leader_is_asked_only_where_much_would_be_done_in_vain(image, asked, tmp_path):
    """Images by digest need no registry; a build would be for nothing without a Nomad that takes the job."""
    nomad = Counted(FakeNomad())
    session = Session(Platform(), nomad, Counted(FakeConsul()), None)
    source = {"image": image} if image else {"image": None, "build": {"language": "python"}}
    file = SpecFile(str(tmp_path / "svc.hms.yml"), spec(name="svc", **source))
    with contextlib.suppress(Exception):
        prepare(session, [file], lambda _: None, build=False)
    assert nomad.calls["leader"] == asked


def test_a_deploy_reads_of_the_mesh_only_what_its_plan_looks_at():
    specs, session = fleet(40)
    cluster = Cluster(session.nomad, session.consul, specs[7].name, "default", lambda _: None)
    assert make_plan(compile_spec(specs[7], Platform()), cluster.observe()).empty
    assert session.consul.calls == {"read_entry": 5, "list_entries": 3}


def test_a_deploy_sees_the_second_name_and_the_routes_of_a_service_behind_the_gateway():
    specs, session = fleet(2, routes=[{"path": "/", "public": True}])
    cluster = Cluster(session.nomad, session.consul, specs[0].name, "default", lambda _: None)
    assert make_plan(compile_spec(specs[0], Platform()), cluster.observe()).empty
    assert session.consul.calls == {"read_entry": 5, "list_entries": 3}
    session.consul.calls.clear()
    assert all(one.empty for one in plan(session, specs))
    assert session.consul.calls == {"list_entries": 6, "kv_list": 1}
