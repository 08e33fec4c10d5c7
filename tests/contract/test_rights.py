"""Which right of a real Nomad each call takes: refused without it by name, and let through with nothing else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hms_nomad.clients.errors import DeniedError, NotFoundError, ServerError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_exec import TaskCommand
from tests.contract.jobs import Jobs, jobs_of
from tests.contract.nomad_server import Nomad, job

Call = Callable[[NomadClient, "Guarded"], Any]
NODES = 'node { policy = "read" }'
# Nomad says of these that there are none.
HIDDEN = frozenset({"read_allocation"})
AGENT = 'agent { policy = "read" }'


class Guarded:
    """Things that calls speak of: a running job with a deployment, an allocation and a scaling policy."""

    def __init__(self, owner: NomadClient, jobs: Jobs) -> None:
        self.job = "guarded"
        self.allocation = jobs.run(self.job, Scaling={"Min": 0, "Max": 3, "Enabled": True}).id
        self.deployment = jobs.settled(self.job).id
        self.node = owner.ready_nodes()[0].id
        self.evaluation = owner.stop_allocation(self.allocation)
        self._owner = owner

    def happening(self) -> int:
        """Let an event happen, because Nomad keeps only the last 100 of all kinds, and answer its index."""
        stored = self._owner.read_job("happening")
        body = {**job("happening", Count=0), "Priority": 50 if stored is None else stored.body["Priority"] + 1}
        return self._owner.register_job(body, 0 if stored is None else stored.modify_index).modify_index


@pytest.fixture(scope="module")
def guarded(strict_nomad: Nomad) -> Iterator[Guarded]:
    owner = strict_nomad.client()
    with jobs_of(owner) as jobs:
        jobs.struct("happening")
        yield Guarded(owner, jobs)


def _unheard(stream: str, data: bytes) -> None:
    pytest.fail(f"a task that has ended wrote {data!r} to {stream}")


CALLS: list[tuple[str, str, Call]] = [
    ("version", AGENT, lambda client, _: client.version()),
    ("list_namespaces", "", lambda client, _: client.list_namespaces()),
    ("agent", AGENT, lambda client, _: client.agent()),
    ("list_nodes", NODES, lambda client, _: client.list_nodes()),
    ("ready_nodes", NODES, lambda client, _: client.ready_nodes()),
    ("read_node", NODES, lambda client, its: client.read_node(its.node)),
    ("list_jobs", "list-jobs", lambda client, _: client.list_jobs()),
    ("read_job", "read-job", lambda client, its: client.read_job(its.job)),
    ("validate_job", "read-job", lambda client, its: client.validate_job(job(its.job))),
    ("plan_job", "submit-job", lambda client, its: client.plan_job(job(its.job))),
    ("register_job", "submit-job", lambda client, its: client.register_job(job(its.job), 0)),
    ("stop_job", "submit-job", lambda client, _: client.stop_job("no-such-job")),
    ("job_versions", "read-job", lambda client, its: client.job_versions(its.job)),
    ("revert_job", "submit-job", lambda client, its: client.revert_job(its.job, 9, 9)),
    ("tag_version", "submit-job", lambda client, its: client.tag_version(its.job, 9, "t")),
    ("untag_version", "submit-job", lambda client, its: client.untag_version(its.job, "t")),
    ("dispatch_job", "dispatch-job", lambda client, its: client.dispatch_job(its.job, {})),
    ("newest_deployment", "read-job", lambda client, its: client.newest_deployment(its.job)),
    ("list_deployments", "read-job", lambda client, _: client.list_deployments()),
    ("read_evaluation", "read-job", lambda client, its: client.read_evaluation(its.evaluation)),
    ("scale_job", "scale-job", lambda client, its: client.scale_job(its.job, "no-such-group", 1, "")),
    ("scale_status", "read-job-scaling", lambda client, its: client.scale_status(its.job)),
    (
        "scaling_policies",
        "list-scaling-policies and read-scaling-policy",
        lambda client, its: client.scaling_policies(its.job),
    ),
    ("job_allocations", "read-job", lambda client, its: client.job_allocations(its.job)),
    ("list_allocations", "read-job", lambda client, _: client.list_allocations()),
    ("read_allocation", "read-job", lambda client, its: client.read_allocation(its.allocation)),
    ("stop_allocation", "alloc-lifecycle", lambda client, its: client.stop_allocation(its.allocation)),
    ("restart_allocation", "alloc-lifecycle", lambda client, its: client.restart_allocation(its.allocation)),
    ("signal_allocation", "alloc-lifecycle", lambda client, its: client.signal_allocation(its.allocation, "SIGHUP")),
    ("allocation_checks", "read-job", lambda client, its: client.allocation_checks(its.allocation)),
    ("allocation_stats", "read-job", lambda client, its: client.allocation_stats(its.allocation)),
    (
        "run_in_task",
        "alloc-exec and alloc-node-exec",
        lambda client, its: client.run_in_task(TaskCommand(its.allocation, "work", ("true",)), (), _unheard),
    ),
    ("logs", "read-logs", lambda client, its: list(client.logs(its.allocation, "work"))),
    (
        "placed_logs",
        "read-logs",
        lambda client, its: list(client.placed_logs(its.allocation, "work", None, threading.Event(), lambda: True)),
    ),
    ("read_deployment", "read-job", lambda client, its: client.read_deployment(its.deployment)),
    (
        "deployment_allocations",
        "read-job",
        lambda client, its: client.deployment_allocations(its.deployment),
    ),
    ("promote_deployment", "submit-job", lambda client, its: client.promote_deployment(its.deployment)),
    ("fail_deployment", "submit-job", lambda client, its: client.fail_deployment(its.deployment)),
    ("pause_deployment", "submit-job", lambda client, its: client.pause_deployment(its.deployment, paused=True)),
    (
        "events",
        "read-job",
        lambda client, its: next(client.events({"Job": ["*"]}, its.happening(), deadline=time.monotonic() + 60)),
    ),
]


def _token(nomad: Nomad, rules: str) -> str:
    name = "only-" + "".join(sign if sign.isalnum() else "-" for sign in rules)
    nomad.http("PUT", f"/v1/acl/policy/{name}", {"Name": name, "Rules": rules})
    made = nomad.http("PUT", "/v1/acl/token", {"Name": "t", "Type": "client", "Policies": [name]})
    return str(made["SecretID"])


def _rules(right: str) -> str:
    if "{" in right:
        return right
    names = right.split(" and ") if right else ["read-fs"]
    return f'namespace "default" {{ capabilities = [{", ".join(map(repr, names))}] }}'.replace("'", '"')


@pytest.mark.parametrize(("name", "right", "call"), CALLS, ids=[call[0] for call in CALLS])
def test_a_call_names_the_right_that_it_lacks_and_takes_no_other(
    strict_nomad: Nomad, guarded: Guarded, name: str, right: str, call: Call
) -> None:
    with contextlib.suppress(ServerError):
        _let_through(lambda: call(strict_nomad.client(_token(strict_nomad, _rules(right))), guarded), right)

    if right:
        other = NODES if right != NODES else AGENT
        with pytest.raises(NotFoundError if name in HIDDEN else DeniedError) as refusal:
            call(strict_nomad.client(_token(strict_nomad, other)), guarded)
        assert name in HIDDEN or f"needs {right}" in str(refusal.value)


def _let_through(call: Callable[[], Any], right: str) -> None:
    try:
        call()
    except DeniedError as refusal:
        pytest.fail(f"{right} does not suffice: {refusal}")


def test_every_call_of_nomad_has_its_right_checked() -> None:
    public = {name for name in dir(NomadClient) if not name.startswith("_")}
    without_a_right = {"leader", "clock", "own_token", "close", "address", "news", "login", "login_oidc", "oidc_url"}
    managing = {"read_acl_policy", "write_acl_policy", "delete_acl_policy", "create_acl_token", "bootstrap_acl"}

    assert public - without_a_right - managing == {name for name, _, _ in CALLS}
