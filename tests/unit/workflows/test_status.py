"""What ``status`` makes of the servers' answers."""

from __future__ import annotations

import pytest

from hms_nomad.clients.consul_types import Check
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.nomad_types import Deployment, DeploymentGroup, PlacementFailure
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.workflows.operating.status import list_status, service_status
from tests.unit.workflows.servers import FakeConsul, FakeNomad, allocation, job, session, sidecar, task


def deployment(of: str, status: str, *, version: int = 0, index: int = 1) -> Deployment:
    group = DeploymentGroup(2, 0, 2, (), 1, 0, False, True)
    return Deployment(f"d-{of}-{version}", of, version, 1, status, f"it is {status}", index, index, {"app": group})


def check(service: str, number: int, status: str = "passing", node: str = "node-1") -> Check:
    return Check("c", "alive", status, "", f"{service}-{number}", node, f"{service}-sidecar-proxy")


def test_a_fleet_costs_three_calls_and_one_for_each_job():
    names = [f"svc-{number}" for number in range(20)]
    nomad = FakeNomad(jobs={name: job(name) for name in names})
    consul = FakeConsul()
    assert [one.service for one in list_status(session(nomad, consul))] == sorted(names)
    assert (nomad.calls, consul.calls) == (2 + 20, 1)


def test_only_our_running_services_are_listed():
    nomad = FakeNomad(jobs={"ours": job("ours"), "gone": job("gone", stop=True), "other": job("other", meta={})})
    assert [one.service for one in list_status(session(nomad, FakeConsul()))] == ["ours"]


def test_an_instance_counts_only_when_all_its_checks_and_its_node_pass():
    checks = [
        check("a", 1),
        check("a", 2),
        check("a", 2, "critical"),
        check("a", 3, node="sick"),
        Check("serfHealth", "alive", "critical", "", "", "sick"),
        check("b", 1),
    ]
    nomad = FakeNomad(jobs={"a": job("a"), "b": job("b", count=1)})
    found = {one.service: (one.healthy, one.state) for one in list_status(session(nomad, FakeConsul(checks=checks)))}
    assert found == {"a": (1, "degraded"), "b": (1, "healthy")}


@pytest.mark.parametrize(
    ("status", "version", "state"),
    [("running", 1, "deploying"), ("paused", 1, "deploying"), ("failed", 1, "failed"), ("failed", 0, "degraded")],
)
def test_the_latest_deployment_of_the_current_version_decides_the_state(status, version, state):
    nomad = FakeNomad(jobs={"a": job("a", version=1)}, deployments=[deployment("a", status, version=version)])
    (found,) = list_status(session(nomad, FakeConsul()))
    assert found.state == state
    assert found.deployment is not None
    assert (found.deployment.status, found.deployment.healthy, found.deployment.desired) == (status, 1, 2)


def test_a_name_that_is_not_there_or_not_ours():
    nomad = FakeNomad(jobs={"other": job("other", meta={})})
    with pytest.raises(NotFoundError, match="there is no service 'nowhere' in namespace default"):
        service_status(session(nomad, FakeConsul()), "nowhere")
    with pytest.raises(ForeignObjectError):
        service_status(session(nomad, FakeConsul()), "other")


def test_instances_carry_their_own_release_and_address():
    ids = ("aaaaaaaa-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000002")
    nomad = FakeNomad(
        jobs={"a": job("a", version=1)},
        allocations=[allocation(ids[0], "a"), allocation(ids[1], "a", version=1, canary=True)],
    )
    found = service_status(session(nomad, FakeConsul(sidecars=[sidecar(ids[1], "a")])), "a")
    newest, oldest = found.instances
    assert (newest.release, newest.canary, newest.health, newest.address, newest.why) == (
        "r1",
        True,
        "passing",
        "10.0.0.1:20001",
        "",
    )
    assert (oldest.health, oldest.why) == ("unregistered", "the allocation is running and not registered in Consul")
    assert found.summary.healthy == 1


SICK = "cccccccc-0000-0000-0000-000000000003"


@pytest.mark.parametrize(
    ("tasks", "status", "output", "why"),
    [
        (
            {
                "app": task("dead", ("Started", ""), ("Sibling Task Failed", "the other one failed"), failed=True),
                "connect-proxy-a": task(
                    "dead", ("Driver Failure", "no such image"), ("Not Restarting", "unrecoverable"), failed=True
                ),
            },
            "passing",
            "",
            "task connect-proxy-a: Driver Failure: no such image",
        ),
        (
            {"app": task("running", ("Terminated", "Exit Code: 1"), ("Restarting", "in 1s"), restarts=2)},
            "critical",
            "",
            "task app: Terminated: Exit Code: 1",
        ),
        ({"app": task()}, "critical", "HTTP 500\nBody: oh", "check 'listening' is critical: HTTP 500 Body: oh"),
        (
            {"app": task("pending", ("Task Setup", "Building Task Directory"))},
            "passing",
            "",
            "task app has not started: Task Setup: Building Task Directory",
        ),
    ],
)
def test_a_sick_instance_says_why(tasks, status, output, why):
    nomad = FakeNomad(jobs={"a": job("a")}, allocations=[allocation(SICK, "a", tasks=tasks)])
    sidecars = [sidecar(SICK, "a", status, output)] if status != "passing" else []
    (found,) = service_status(session(nomad, FakeConsul(sidecars=sidecars)), "a").instances
    assert found.why == why


def test_an_instance_that_is_being_stopped_is_not_called_sick():
    leaving = allocation(SICK, "a", desired_status="stop")
    nomad = FakeNomad(jobs={"a": job("a")}, allocations=[leaving])
    (found,) = service_status(session(nomad, FakeConsul()), "a").instances
    assert found.why == "it is being stopped: nobody is sent to it, and it ends what it still answers"


def test_instances_that_find_no_node_are_explained():
    full = PlacementFailure(1, 0, 1, {}, {"memory": 1}, {}, {}, ())
    nomad = FakeNomad(jobs={"a": job("a")}, allocations=[allocation(SICK, "a")], unplaced={"app": full})
    assert "memory is exhausted on 1 node" in service_status(session(nomad, FakeConsul()), "a").unplaced


def test_what_was_replaced_is_history():
    old = allocation("dddddddd", "a", status="complete", desired_status="stop")
    nomad = FakeNomad(jobs={"a": job("a")}, allocations=[old])
    assert service_status(session(nomad, FakeConsul()), "a").instances == ()
