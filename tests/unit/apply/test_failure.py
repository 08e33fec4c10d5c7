"""What a failed deployment is explained by: the instance that is at fault, and the answers of checks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hms_nomad.apply.failure import explain_failure
from hms_nomad.clients.consul_types import Check, Instance
from hms_nomad.clients.nomad_types import TaskEvent, TaskState
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
