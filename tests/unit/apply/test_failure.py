"""What a failed deployment is explained by: the instance that is at fault, and the answers of checks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hms_nomad.apply.failure import explain_failure
from hms_nomad.clients.consul_types import Check, Instance
from hms_nomad.clients.nomad_types import Deployment, TaskEvent, TaskState
from hms_nomad.clients.snapshot import Snapshot
from tests.unit.workflows.servers import allocation


def test_checks_that_do_not_pass_say_what_they_were_answered_or_their_state():
    checks = (
        Check("1", "serves", "critical", "HTTP GET http://127.0.0.1:8080/health: 503\n"),
        Check("2", "Connect Sidecar Listening", "critical", ""),
        Check("3", "Connect Sidecar Aliasing", "passing", ""),
    )
    one = Instance("web-1", "web", "node", "127.0.0.1", 8080, {}, (), "critical", checks)
    nomad = cast("Any", SimpleNamespace(job_allocations=lambda _: Snapshot(1, ())))
    consul = cast("Any", SimpleNamespace(instances=lambda _: Snapshot(1, (one,))))

    failure = explain_failure(nomad, consul, "web", None, "the deadline passed")

    assert failure.checks == (
        "serves: HTTP GET http://127.0.0.1:8080/health: 503",
        "Connect Sidecar Listening: critical",
    )


def test_an_instance_that_crashes_explains_more_than_one_that_was_only_just_placed():
    crash = TaskState("pending", False, 2, (TaskEvent("Terminated", "Exit Code: 1", 1, {}),))
    crashing = allocation("crashing", "web", healthy=None, tasks={"app": crash}, create_index=7)
    fresh = allocation("fresh", "web", healthy=None, tasks={"app": TaskState("pending", False, 0, ())}, create_index=9)
    nomad = cast(
        "Any",
        SimpleNamespace(
            job_allocations=lambda _: Snapshot(1, (fresh, crashing)), logs=lambda *_, **__: iter(["no database"])
        ),
    )
    consul = cast("Any", SimpleNamespace(instances=lambda _: Snapshot(1, ())))

    failure = explain_failure(nomad, consul, "web", None, "it crashes")

    assert (failure.allocation, failure.events, failure.lines) == (
        "crashing",
        ("Terminated: Exit Code: 1",),
        ("no database",),
    )


@pytest.mark.parametrize(
    ("version", "status", "asked"),
    [
        (7, "running", "deployment"),
        (7, "failed", "deployment"),
        (7, "successful", "job"),
        (6, "failed", "job"),
        (None, "", "job"),
    ],
)
def test_all_that_nomad_remembers_of_a_job_is_read_only_where_its_deployment_may_lack_an_instance(
    version: int | None, status: str, asked: str
):
    newest = None if version is None else Deployment("d1", "web", version, 1, status, "", 1, 1, {})
    known = {
        "job": allocation("by-job", "web", version=7, healthy=False),
        "deployment": allocation("by-d1", "web", version=7, healthy=False),
    }
    nomad = cast(
        "Any",
        SimpleNamespace(
            newest_deployment=lambda _: newest,
            deployment_allocations=lambda name: Snapshot(1, (known["deployment"],) if name == "d1" else ()),
            job_allocations=lambda _: Snapshot(1, (known["job"],)),
            logs=lambda *_, **__: iter(()),
        ),
    )
    consul = cast("Any", SimpleNamespace(instances=lambda _: Snapshot(1, ())))

    failure = explain_failure(nomad, consul, "web", 7, "it crashes")

    assert failure.allocation == known[asked].id
