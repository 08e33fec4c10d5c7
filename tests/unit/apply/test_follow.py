"""Instances that are just being started are waited for, and what an event told is read until it is there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from msgspec.structs import replace

from hms_nomad.apply import follow
from hms_nomad.apply.follow import await_started, follow_deployment
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_news import JobNews
from hms_nomad.clients.nomad_parse import parse_allocation
from hms_nomad.clients.nomad_types import Allocation, Deployment, Event
from hms_nomad.clients.snapshot import Snapshot

JOB = {
    "ID": "receipt-svc",
    "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "app"}, {"Name": "after", "Lifecycle": {"Hook": "poststop"}}]}],
}


class Nomad:
    """Answers one list of allocations after the other, and the last one again and again."""

    def __init__(self, *answers: list[Allocation]) -> None:
        self.answers = list(answers)
        self.indexes: list[int] = []

    def job_allocations(self, job_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Allocation, ...]]:
        assert job_id == "receipt-svc"
        self.indexes.append(index)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Snapshot(index=len(self.indexes), value=tuple(answer))


def instance(client: str = "running", desired: str = "run", **tasks: str) -> Allocation:
    states = {name: {"State": state, "Failed": False, "Restarts": 0, "Events": []} for name, state in tasks.items()}
    return parse_allocation(
        {
            "ID": "60aa5397",
            "Name": "receipt-svc.app[0]",
            "JobID": "receipt-svc",
            "JobVersion": 1,
            "NodeID": "n",
            "NodeName": "node",
            "TaskGroup": "app",
            "ClientStatus": client,
            "DesiredStatus": desired,
            "CreateIndex": 1,
            "ModifyIndex": 1,
            "ModifyTime": 1,
            "TaskStates": states or None,
        }
    )


def asked(*answers: list[Allocation]) -> list[int]:
    nomad = Nomad(*answers)
    await_started(cast("NomadClient", nomad), cast("dict[str, Any]", JOB), time.monotonic() + 60)
    return nomad.indexes


@pytest.mark.parametrize(
    "starting",
    [instance("pending"), instance(**{"app": "pending", "connect-proxy-receipt-svc": "running"})],
    ids=["no task yet", "its sidecar runs"],
)
def test_an_instance_that_is_being_started_is_waited_for(starting: Allocation):
    assert asked([instance(app="running"), starting], [instance(app="running")]) == [0, 1]


@pytest.mark.parametrize(
    "other",
    [
        instance(app="running", after="pending"),
        instance("complete", app="pending"),
        instance("pending", "stop"),
    ],
    ids=["a task for its end waits", "it ended before it began", "it is to be stopped"],
)
def test_others_are_not(other: Allocation):
    assert asked([other]) == [0]


def test_one_that_cannot_start_is_not_waited_for_any_longer(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(follow.time, "monotonic", lambda: next(clock))
    assert asked([instance("pending")]) == [0, 1]


class Deploying:
    """A Nomad whose event comes before the change that it tells of can be read."""

    def __init__(self, reads_too_old: int) -> None:
        self.too_old = reads_too_old
        self.indexes: list[int] = []
        self.news = JobNews(self.events)

    def events(
        self, topics: object, index: int = 0, deadline: float | None = None, wanted: Callable[[], bool] = bool
    ) -> Iterator[Event]:
        del topics, index, deadline
        body = {"ID": "d1", "JobID": "receipt-svc", "JobVersion": 1, "Status": "successful", "ModifyIndex": 9}
        yield Event("Deployment", "PlanResult", "d1", 9, {"Deployment": body})
        while wanted():
            time.sleep(0.01)

    def read_deployment(self, deployment_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[Deployment]:
        del wait
        self.indexes.append(index)
        found = deployment(deployment_id, "running", 5)
        if len(self.indexes) > 1 + self.too_old:
            found = deployment(deployment_id, "successful", 9)
        return Snapshot(found.modify_index, found)

    def deployment_allocations(self, deployment_id: str) -> Snapshot[tuple[Allocation, ...]]:
        assert deployment_id == "d1"
        return Snapshot(1, ())


def deployment(deployment_id: str, status: str, index: int) -> Deployment:
    return Deployment(deployment_id, "receipt-svc", 1, 5, status, "", 5, index, {})


@pytest.mark.parametrize("too_old", [0, 1, 3])
def test_what_an_event_told_is_read_until_it_is_there(too_old: int):
    nomad = Deploying(too_old)
    verdict = follow_deployment(
        cast("NomadClient", nomad), deployment("d1", "running", 5), time.monotonic() + 60, lambda _: None
    )
    assert verdict.healthy
    assert nomad.indexes == [0, 0, *[5] * too_old]


class Fleet:
    """A Nomad on which many deployments come to their end, one instance of each after the other; counts calls."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.calls: Counter[str] = Counter()
        self.ready = threading.Barrier(len(names) + 1)
        self.over = False
        self.news = JobNews(self.events)

    def events(
        self, topics: object, index: int = 0, deadline: float | None = None, wanted: Callable[[], bool] = bool
    ) -> Iterator[Event]:
        del topics, index, deadline
        self.calls["events"] += 1
        self.ready.wait(30)
        for number in range(20):
            for name in self.names:
                body = {"ID": f"{name}-{number}", "JobID": name, "DeploymentID": f"of {name}"}
                yield Event("Allocation", "AllocationUpdated", body["ID"], 10 + number, {"Allocation": body})
        self.over = True
        for name in self.names:
            body = {"ID": f"of {name}", "JobID": name, "Status": "successful", "ModifyIndex": 99}
            yield Event("Deployment", "DeploymentStatusUpdate", body["ID"], 99, {"Deployment": body})
        while wanted():
            time.sleep(0.01)

    def read_deployment(self, deployment_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[Deployment]:
        del index, wait
        self.calls[deployment_id] += 1
        found = replace(deployment(deployment_id, "running", 5), job_id=deployment_id.removeprefix("of "))
        return Snapshot(99, replace(found, status="successful", modify_index=99) if self.over else found)

    def deployment_allocations(self, deployment_id: str) -> Snapshot[tuple[Allocation, ...]]:
        self.calls[deployment_id] += 1
        if self.calls[deployment_id] == 2:
            self.ready.wait(30)
        return Snapshot(1, ())


def test_many_deployments_are_followed_on_one_stream_and_no_event_costs_a_call():
    nomad = Fleet([f"service-{number}" for number in range(24)])

    def followed(name: str) -> bool:
        begun = replace(deployment(f"of {name}", "running", 5), job_id=name)
        return follow_deployment(cast("NomadClient", nomad), begun, time.monotonic() + 60, lambda _: None).healthy

    with ThreadPoolExecutor(len(nomad.names)) as pool:
        assert all(pool.map(followed, nomad.names))
    assert nomad.calls.pop("events") == 1
    # Deployment and instances at the begin and at the end, and none for any of the twenty events in between.
    assert set(nomad.calls.values()) == {4}
