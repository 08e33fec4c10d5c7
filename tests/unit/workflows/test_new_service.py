"""The deploy of one new service, from its first look to its end: its calls, and what becomes of lost races."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from msgspec.structs import replace

from hms_nomad.apply.lock import list_locks
from hms_nomad.apply.progress import Event as Told
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvPair
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_news import JobNews
from hms_nomad.clients.nomad_types import Allocation, Deployment, DeploymentGroup, Evaluation, Event
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.plan.change import ForeignObjectError, Plan
from hms_nomad.platform.model import Platform
from hms_nomad.rollout.release import ReleaseOutcome, release_bytes
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.deploying.deploy import deploy
from hms_nomad.workflows.deploying.outcome import DeployOptions, Status
from hms_nomad.workflows.operating.audit import list_audit, verify_audit
from hms_nomad.workflows.session import Session
from tests.unit.plan.test_call_counts import Counted
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, job, sidecar

NAME = "svc-0"


class Starting(FakeNomad):
    """A Nomad whose deployments come to a good end, which only the event stream tells at first."""

    def __init__(self) -> None:
        super().__init__()
        self.tagged: list[tuple[str, int, str]] = []
        self.over = False
        self.looked = threading.Event()
        self.news = JobNews(self.events)

    def read_evaluation(self, eval_id: str, index: int = 0, wait: float = 0.0) -> Evaluation:
        return Evaluation(eval_id, "complete", "", "service", "job-register", NAME, "d1", "", "", {}, 7)

    def newest_deployment(self, name: str) -> Deployment | None:
        return self.read_deployment("d1").value

    def read_deployment(self, deployment_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[Deployment]:
        group = DeploymentGroup(2, 0, 2, (), 2, 0, promoted=False, auto_revert=True)
        status, at = ("successful", 9) if self.over else ("running", 8)
        return Snapshot(at, Deployment(deployment_id, NAME, 0, 7, status, "", 8, at, {"app": group}))

    def deployment_allocations(self, deployment_id: str) -> Snapshot[tuple[Allocation, ...]]:
        self.looked.set()
        return super().deployment_allocations(deployment_id)

    def events(
        self, topics: object, index: int = 0, deadline: float | None = None, wanted: Callable[[], bool] = bool
    ) -> Iterator[Event]:
        del topics, index, deadline
        # The first look comes before the news.
        assert self.looked.wait(30)
        self.over = True
        body = {"ID": "d1", "JobID": NAME, "JobVersion": 0, "Status": "successful", "ModifyIndex": 9}
        yield Event("Deployment", "DeploymentStatusUpdate", "d1", 9, {"Deployment": body})
        while wanted():
            time.sleep(0.01)

    def tag_version(self, job_id: str, version: int, name: str, description: str) -> None:
        self.tagged.append((job_id, version, name))


def servers() -> Session:
    """Nothing is there, and whatever starts is healthy."""
    consul = FakeConsul(sidecars=[sidecar(f"a{number}", NAME) for number in range(2)])
    return Session(Platform(), Counted(Starting()), Counted(consul), None)


def deployed(session: Session, report: Callable[[Told], None] = lambda _: None, **options: Any) -> Any:
    return deploy(session, spec(name=NAME), DeployOptions(**options), report)


def stored(session: Session) -> Any:
    return RolloutStore(session.consul, "default", NAME).kept()


def test_a_new_service_costs_its_own_writes_a_few_transactions_and_the_reads_of_its_deployment():
    session = servers()
    outcome = deployed(session)
    assert (outcome.status, outcome.instances, outcome.number) == (Status.DEPLOYED, 2, 1)
    before = {"read_job": 1, "register_job": 1}
    waiting = {"read_evaluation": 1, "newest_deployment": 1}
    # One look at the deployment once its stream is open, and one at the end, while the version gets its name.
    looks = {"read_deployment": 2, "deployment_allocations": 2, "tag_version": 1}
    # The version of the job that was registered is read from Nomad.
    assert session.nomad.calls == {**before, **waiting, **looks, "read_job": 2}
    locked = {"create_session": 1, "destroy_session": 1}
    looked = {"read_entry": 5, "list_entries": 3}
    # The lock with journal and record, what was done before and with the job, and the end of all of them.
    written = {"write_entry": 4, "kv_transact": 4, "kv_put": 1}
    trail = {"kv_get": 1, "kv_list": 1}
    assert session.consul.calls == {**locked, **looked, **written, **trail, "instances": 1}


def test_at_the_end_the_record_is_closed_with_the_audit_record_and_nothing_is_left():
    session = servers()
    deployed(session)
    (record,) = stored(session).releases
    assert (record.outcome, record.job_version) == (ReleaseOutcome.SUCCEEDED, 0)
    assert record.ended is not None
    assert session.nomad.tagged == [(NAME, 0, record.tag)]
    assert [(one.result, one.service) for one in list_audit(session)] == [("deployed", NAME)]
    assert verify_audit(session).wrong == ()
    assert list_locks(session.consul, "default") == ()
    assert session.consul.sessions == []
    assert session.consul.kv_list("hms-nomad/runs/") == ()


def test_a_record_that_somebody_wrote_meanwhile_is_closed_as_it_is_then():
    session = servers()

    def meanwhile(event: Told) -> None:
        if event.kind == "registered":
            (record,) = stored(session).releases
            key = f"hms-nomad/releases/default/{NAME}/00000001"
            changed = release_bytes(replace(record, reason="seen by somebody"))
            session.consul.keys[key] = KvPair(key, changed, 99, "")

    deployed(session, meanwhile)
    (record,) = stored(session).releases
    assert record.outcome is ReleaseOutcome.SUCCEEDED
    assert [one.result for one in list_audit(session)] == ["deployed"]
    assert session.consul.kv_list("hms-nomad/runs/") == ()


def test_a_service_that_is_there_is_read_under_its_lock_alone(monkeypatch):
    session = servers()
    session.nomad.jobs[NAME] = job(NAME)
    consul = session.consul._server
    read, locked = consul.list_entries, []

    def list_entries(kind: str) -> Any:
        locked.append(bool(list_locks(consul, "default")))
        return read(kind)

    monkeypatch.setattr(consul, "list_entries", list_entries)
    session.consul.store("service-resolver", NAME, meta={})
    with pytest.raises(ForeignObjectError):
        deployed(session)
    assert locked == [True] * 3
    assert session.consul.sessions == []


def test_who_expects_a_certain_plan_sees_it_before_anything_is_kept():
    session = servers()

    def refuse(plan: Plan) -> None:
        raise RuntimeError(f"{len(plan.effective)} changes were not expected")

    with pytest.raises(RuntimeError, match="5 changes"):
        deployed(session, guard=refuse)
    assert session.consul.keys == {}


def test_what_belongs_to_somebody_else_is_refused_before_the_lock_is_taken():
    session = servers()
    session.consul.store("service-resolver", NAME, meta={})
    with pytest.raises(ForeignObjectError):
        deployed(session)
    assert session.consul.calls["kv_transact"] == 0
    assert session.consul.sessions == []
    assert session.consul.keys == {}


def test_who_was_faster_since_the_look_is_noticed_and_the_service_read_again(monkeypatch):
    consul = FakeConsul(sidecars=[sidecar(f"a{number}", NAME) for number in range(2)])
    took = threading.Event()
    make, read = consul.create_session, consul.list_entries

    def create_session(*given: Any, **named: Any) -> str:
        # The lock waits for the session; in this moment somebody else writes the first entry.
        assert took.wait(30)
        consul.store("service-defaults", NAME)
        return make(*given, **named)

    def list_entries(kind: str) -> Any:
        found = read(kind)
        took.set()
        return found

    monkeypatch.setattr(consul, "create_session", create_session)
    monkeypatch.setattr(consul, "list_entries", list_entries)
    session = Session(Platform(), cast("NomadClient", Starting()), cast("ConsulClient", consul), None)
    assert deployed(session).status is Status.DEPLOYED
    assert session.nomad.done == [f"register {NAME}"]
    assert stored(session).releases[0].outcome is ReleaseOutcome.SUCCEEDED


def test_for_the_end_a_server_that_comes_back_soon_is_worth_waiting_for(monkeypatch):
    session = servers()
    consul = session.consul._server
    transact, patience = consul.kv_transact, []

    def kv_transact(operation: str, *given: Any, **named: Any) -> Any:
        patience.append(session.retries.patience_seconds)
        return transact(operation, *given, **named)

    monkeypatch.setattr(consul, "kv_transact", kv_transact)
    deployed(session)
    assert patience[-1] == 60.0
    assert session.retries.patience_seconds == 0.0
