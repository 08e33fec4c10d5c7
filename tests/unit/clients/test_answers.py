"""Answers of servers -> our values, where the real servers are hard to bring to give them."""

from __future__ import annotations

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_parse import parse_allocation, parse_failures, parse_job, parse_node, parse_stats
from hms_nomad.clients.snapshot import next_index
from hms_nomad.clients.transport import blocking_timeout
from tests.wire import Answer, Wire


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ({}, "no node in these datacenters and this node pool is ready for work"),
        (
            {"NodesEvaluated": 3, "NodesExhausted": 3, "DimensionExhausted": {"cpu": 1, "memory": 2}},
            "memory is exhausted on 2 nodes; cpu is exhausted on 1 node (of 3 nodes looked at)",
        ),
        (
            {"NodesEvaluated": 1, "NodesFiltered": 1, "ConstraintFiltered": {"missing drivers": 1}},
            "1 node fail constraint: missing drivers (of 1 node looked at)",
        ),
        (
            {"NodesEvaluated": 2, "QuotaExhausted": ["team: memory"], "ClassFiltered": {"small": 2}},
            "quota team: memory is exhausted; class small is filtered on 2 nodes (of 2 nodes looked at)",
        ),
        (
            {"NodesEvaluated": 2, "ClassExhausted": {"gpu": 2}},
            "class gpu is exhausted on 2 nodes (of 2 nodes looked at)",
        ),
        ({"NodesEvaluated": 2, "NodesFiltered": 2}, "2 filtered and 0 exhausted (of 2 nodes looked at)"),
    ],
)
def test_a_placement_failure_is_told_in_words(metric: dict[str, object], reason: str) -> None:
    assert parse_failures({"main": metric})["main"].reason() == reason


def test_null_and_absent_fields_are_empty_values() -> None:
    allocation = parse_allocation({"ID": "a", "TaskStates": None, "DeploymentStatus": None, "AllocatedResources": None})
    job = parse_job({"ID": "web", "Meta": None, "VersionTag": None})
    node = parse_node({"ID": "n", "Drivers": None, "Attributes": None, "HTTPAddr": "[fd00::1]:4646"})
    stats = parse_stats({"ResourceUsage": None})

    assert (allocation.tasks, allocation.ports, allocation.healthy, allocation.canary) == ({}, {}, None, False)
    assert (job.meta, job.tag, job.stable, job.version) == ({}, "", None, 0)
    assert (node.drivers, node.attributes, node.address) == (frozenset(), {}, "[fd00::1]")
    assert (stats.cpu_percent, stats.cpu_ticks, stats.memory_bytes) == (0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("asked", "answered", "following"),
    [(0, "7", 7), (7, "9", 9), (7, "7", 7), (9, "7", 0), (0, "0", 1), (0, None, 1), (7, None, 0)],
    ids=["first", "newer", "no news", "went back", "zero would not wait", "no header", "no header any more"],
)
def test_the_next_index_always_waits_and_starts_anew_when_the_server_did(
    asked: int, answered: str | None, following: int
) -> None:
    assert next_index(asked, answered) == following


def test_a_blocking_question_may_take_longer_than_an_ordinary_one() -> None:
    assert blocking_timeout(15.0, wait=0.0) == 15.0
    assert blocking_timeout(0.5, wait=0.0) == 0.5
    assert blocking_timeout(15.0, wait=160.0) == 175.0


def test_a_question_waits_only_with_an_index() -> None:
    with Wire(Answer(body="[]", headers={"X-Nomad-Index": "7"})) as wire:
        client = NomadClient(Connection(wire.address))
        client.job_allocations("web", index=0, wait=30)
        client.job_allocations("web", index=7, wait=1.5)

    first, second = (question.path for question in wire.questions)
    assert "index=" not in first
    assert "wait=" not in first
    assert "index=7" in second
    assert "wait=1500ms" in second


def test_every_question_to_nomad_states_namespace_and_region() -> None:
    with Wire(Answer(body="[]")) as wire:
        client = NomadClient(Connection(wire.address), namespace="team-a", region="north")
        client.list_jobs()
        client.job_allocations("web")
        client.list_namespaces()
        client.scaling_policies("web")

    assert all("namespace=team-a&region=north" in question.path for question in wire.questions)


def test_an_id_is_one_segment_of_the_path() -> None:
    with Wire(Answer(status=404)) as wire:
        assert NomadClient(Connection(wire.address)).read_job("a/b?c#d e%") is None

    assert wire.questions[0].path == "/v1/job/a%2Fb%3Fc%23d%20e%25?namespace=default"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("15s", 15.0), ("1m30s", 90.0), ("1h0m0s", 3600.0), ("1.5s", 1.5), ("100ms", 0.1), ("", 0.0)],
)
def test_durations_of_sessions_are_seconds(written: str, seconds: float) -> None:
    body = f'[{{"ID": "s", "TTL": "{written}", "LockDelay": 15000000000}}]'
    with Wire(Answer(body=body)) as wire:
        session = ConsulClient(Connection(wire.address)).session_info("s")

    assert session is not None
    assert session.ttl_seconds == pytest.approx(seconds)
    assert session.lock_delay_seconds == 15.0


def test_a_server_without_a_leader_has_none() -> None:
    with Wire(Answer(body='""')) as wire:
        assert ConsulClient(Connection(wire.address)).leader() is None
        assert NomadClient(Connection(wire.address)).leader() is None
