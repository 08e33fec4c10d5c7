"""Why did it fail: the failing task's last lines and events, and what the health check answered."""

from __future__ import annotations

import contextlib

from msgspec import Struct

from hms_nomad.apply.follow import deployment_of
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Allocation, TaskState
from hms_nomad.compile.names import TASK

_LAST_LINES = 10
_LAST_EVENTS = 5


class Failure(Struct, frozen=True):
    """What an operator needs to see of a failed deployment, without another command.

    ``events`` are the failing task's last events, ``lines`` its last lines of output (stderr, else stdout),
    ``checks`` the answers of checks that do not pass.
    """

    reason: str
    allocation: str | None
    task: str | None
    events: tuple[str, ...]
    lines: tuple[str, ...]
    checks: tuple[str, ...]


def explain_failure(
    nomad: NomadClient, consul: ConsulClient, service: str, job_version: int | None, reason: str
) -> Failure:
    """Collect the evidence of a failed deployment of ``service``; what cannot be read any more is left out."""
    allocation, task = _culprit(nomad, service, job_version)
    state = allocation.tasks.get(task) if allocation and task else None
    return Failure(
        reason=reason,
        allocation=allocation.id if allocation else None,
        task=task,
        events=_last_events(state),
        lines=_last_lines(nomad, allocation, task) if allocation and task else (),
        checks=_failing_checks(consul, service, allocation),
    )


def _culprit(nomad: NomadClient, service: str, job_version: int | None) -> tuple[Allocation | None, str | None]:
    allocations = _instances(nomad, service, job_version)
    # One that was only just placed tells nothing of one whose tasks crash and are tried again.
    allocations.sort(
        key=lambda a: (
            a.client_status != "failed",
            not any(_in_trouble(task) for task in a.tasks.values()),
            a.healthy is not False,
            -a.create_index,
        )
    )
    for allocation in allocations:
        # A failed task of the service itself says more than a sidecar that was stopped with it.
        tasks = sorted(allocation.tasks, key=lambda name: (name.startswith("connect-proxy-"), name != TASK))
        troubled = [name for name in tasks if _in_trouble(allocation.tasks[name])]
        if troubled or allocation.healthy is not True:
            return allocation, next(iter(troubled or tasks), None)
    return None, None


def _instances(nomad: NomadClient, service: str, job_version: int | None) -> list[Allocation]:
    """The instances of a version, or all that Nomad remembers, which grows with each deploy.

    A version's deployment has all of them until it succeeds; what is replaced after that belongs to no deployment.
    """
    if job_version is None:
        return list(nomad.job_allocations(service).value)
    own = deployment_of(nomad, service, job_version)
    if own is not None and own.status != "successful":
        found = nomad.deployment_allocations(own.id)
    else:
        found = nomad.job_allocations(service)
    return [one for one in found.value if one.job_version == job_version]


def _in_trouble(state: TaskState) -> bool:
    return state.failed or state.restarts > 0


def _last_events(state: TaskState | None) -> tuple[str, ...]:
    events = state.events[-_LAST_EVENTS:] if state else ()
    return tuple(f"{event.type}: {event.message}".rstrip(": ") for event in events)


def _last_lines(nomad: NomadClient, allocation: Allocation, task: str) -> tuple[str, ...]:
    for kind in ("stderr", "stdout"):
        with contextlib.suppress(ServerError):
            lines = tuple(nomad.logs(allocation.id, task, kind, tail_lines=_LAST_LINES, follow=False, stop=None))
            if lines:
                return lines
    return ()


def _failing_checks(consul: ConsulClient, service: str, allocation: Allocation | None) -> tuple[str, ...]:
    answers = []
    with contextlib.suppress(ServerError):
        for instance in consul.instances(service).value:
            if allocation is not None and allocation.id not in instance.id:
                continue
            # A check that was never answered has nothing but its state.
            answers += [
                f"{check.name}: {check.output.strip() or check.status}"
                for check in instance.checks
                if check.status != "passing"
            ]
    return tuple(answers)
