"""``status``: what runs of our services, how healthy it is, and why an instance is not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.clients.consul_types import Check, Instance
from hms_nomad.clients.errors import NotFoundError, ServerError
from hms_nomad.clients.nomad_types import Allocation, Deployment, Job, TaskEvent, TaskState
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.names import TASK
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.workflows.fleet import our_jobs, side_by_side
from hms_nomad.workflows.operating.runs import is_periodic, runs
from hms_nomad.workflows.session import Session

_BATCH = "batch"
_SHOWN_RUNS = 5
_SIDECAR = "-sidecar-proxy"
_SIDECAR_TASK = "connect-proxy-"
_PASSING = "passing"
_CONSEQUENCES = frozenset(
    {
        "Alloc Unhealthy",
        "Killed",
        "Killing",
        "Leader Task Dead",
        "Not Restarting",
        "Received",
        "Restarting",
        "Sibling Task Failed",
        "Started",
        "Task Setup",
    }
)


class DeploymentState(Struct, frozen=True):
    """The latest deployment; ``healthy`` of ``desired`` instances."""

    id: str
    status: str
    description: str
    healthy: int
    desired: int


class ServiceState(Struct, frozen=True):
    """One service. ``state`` is healthy, degraded, deploying, failed or stopped; ``healthy`` counts the instances that
    callers in the mesh are sent to, ``desired`` what Nomad is asked to run now.

    One of ``kind`` job is scheduled (``schedule`` says when), pending, running, ended, failed or stopped, and has no
    instances that are counted.
    """

    service: str
    state: str
    version: str
    release: str
    healthy: int
    desired: int
    scaling: Mapping[str, int]
    url: str
    deployment: DeploymentState | None
    kind: str = "service"
    schedule: str = ""


class CheckAnswer(Struct, frozen=True):
    """One health check of an instance, as Consul holds it."""

    name: str
    status: str
    output: str


class InstanceState(Struct, frozen=True):
    """One instance. ``health`` is passing, warning, critical or unregistered; ``why`` says in words why it is not
    passing ("" when it is).
    """

    allocation: str
    node: str
    status: str
    health: str
    sidecar: str
    version: str
    release: str
    canary: bool
    address: str
    checks: tuple[CheckAnswer, ...]
    why: str


class ServiceDetail(Struct, frozen=True):
    """One service with its instances; ``unplaced`` says why instances that are wanted do not run ("" when all do)."""

    summary: ServiceState
    instances: tuple[InstanceState, ...]
    unplaced: str


def list_status(session: Session) -> tuple[ServiceState, ...]:
    """Our services in the session's namespace, by name; stopped ones are left out.

    Three calls for all of them, and one for each service's job, which Nomad lists without its body.
    """
    names = [job.id for job in our_jobs(session)]
    if not names:
        return ()
    latest: dict[str, Deployment] = {}
    for deployment in session.nomad.list_deployments():
        latest.setdefault(deployment.job_id, deployment)
    healthy = _healthy_proxies(session.consul.all_checks())
    jobs = side_by_side(session.nomad.read_job, names)
    return tuple(
        _service(job, healthy.get(f"{job.id}{_SIDECAR}", 0), latest.get(job.id)) for job in jobs if job is not None
    )


def healthy_instances(checks: Iterable[Check]) -> dict[str, int]:
    """How many instances of each service are healthy, by the checks of the whole datacenter."""
    found = _healthy_proxies(checks)
    return {name.removesuffix(_SIDECAR): count for name, count in found.items() if name.endswith(_SIDECAR)}


def service_status(session: Session, name: str) -> ServiceDetail:
    """One of our services with all that concerns its instances.

    Raises NotFoundError when there is no such job, ForeignObjectError when it is not ours.
    """
    job = session.nomad.read_job(name)
    if job is None:
        raise not_there(session, name)
    if job.meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError("job", name)
    if job.type == _BATCH:
        return _job_detail(session, job)
    own = {found.id: found for found in session.consul.instances(name).value}
    sidecars = session.consul.instances(name, connect=True).value
    allocations = [found for found in session.nomad.job_allocations(name).value if _concerns(found)]
    allocations.sort(key=lambda found: (-found.job_version, found.name, -found.create_index))
    instances = tuple(_instance(job, found, own.values(), sidecars) for found in allocations)
    deployment = session.nomad.newest_deployment(name)
    healthy = sum(sidecar.status == _PASSING for sidecar in sidecars)
    summary = _service(job, healthy, deployment)
    live = sum(not found.done and found.desired_status == "run" for found in allocations)
    missing = live < summary.desired and not job.stop
    return ServiceDetail(summary, instances, _unplaced(session, job) if missing else "")


def not_there(session: Session, name: str) -> NotFoundError:
    """The error for a name that no job has."""
    detail = f"there is no service {name!r} in namespace {session.platform.namespace}; see hms-nomad status"
    return NotFoundError("nomad", f"read job {name}", session.nomad.address, detail, 404)


def _healthy_proxies(checks: Iterable[Check]) -> dict[str, int]:
    """How many instances of each service have no check that fails; a node's own checks count for all its instances."""
    sick_nodes = set()
    instances: dict[tuple[str, str, str], bool] = {}
    for check in checks:
        if not check.service_id:
            if check.status != _PASSING:
                sick_nodes.add(check.node)
            continue
        key = (check.service, check.node, check.service_id)
        instances[key] = instances.get(key, True) and check.status == _PASSING
    counts: dict[str, int] = {}
    for (service, node, _), passing in instances.items():
        counts[service] = counts.get(service, 0) + (passing and node not in sick_nodes)
    return counts


def _job_detail(session: Session, job: Job) -> ServiceDetail:
    """A job with its last runs, the latest first."""
    names = [run.id for run in runs(session, job.id)[:_SHOWN_RUNS]] if is_periodic(job) else [job.id]
    found = [allocation for name in names for allocation in session.nomad.job_allocations(name).value]
    found.sort(key=lambda allocation: -allocation.create_index)
    summary = _job_state(job)
    if summary.state == "ended" and found and found[0].client_status == "failed":
        summary = replace(summary, state="failed")
    return ServiceDetail(summary, tuple(_run(job, allocation) for allocation in found[:_SHOWN_RUNS]), "")


def _job_state(job: Job) -> ServiceState:
    """What Nomad's own record of a job says."""
    periodic: Mapping[str, Any] = job.body.get("Periodic") or {}
    times = ", ".join(spec for spec in (*(periodic.get("Specs") or ()), periodic.get("Spec")) if spec)
    living = job.status if job.status in ("running", "pending") else "ended"
    return ServiceState(
        service=job.id,
        state="stopped" if job.stop else "scheduled" if periodic else living,
        version=job.meta.get("version", ""),
        release=job.meta.get("release", ""),
        healthy=0,
        desired=0,
        scaling={"min": 0, "max": 0},
        url="",
        deployment=None,
        kind="job",
        schedule=f"{times} {periodic.get('TimeZone') or 'UTC'}" if times else "",
    )


def _run(job: Job, allocation: Allocation) -> InstanceState:
    current = allocation.job_version == job.version or is_periodic(job)
    return InstanceState(
        allocation=allocation.id,
        node=allocation.node_name,
        status=allocation.client_status,
        health="",
        sidecar=_sidecar_task(allocation),
        version=job.meta.get("version", "") if current else "",
        release=job.meta.get("release", "") if current else "",
        canary=False,
        address="",
        checks=(),
        why=_why(allocation, ()) if allocation.client_status in ("failed", "lost") else "",
    )


def _service(job: Job, healthy: int, deployment: Deployment | None) -> ServiceState:
    if job.type == _BATCH:
        return _job_state(job)
    group: Mapping[str, Any] = (job.body.get("TaskGroups") or [{}])[0]
    meta: Mapping[str, str] = ((group.get("Services") or [{}])[0]).get("Meta") or {}
    scaling = group.get("Scaling") or {}
    desired = 0 if job.stop else int(group.get("Count") or 0)
    return ServiceState(
        service=job.id,
        state=_state(job, healthy, desired, deployment),
        version=meta.get("version", ""),
        release=meta.get("release", ""),
        healthy=healthy,
        desired=desired,
        scaling={"min": int(scaling.get("Min") or desired), "max": int(scaling.get("Max") or desired)},
        url=meta.get("url", ""),
        deployment=_deployment(deployment) if deployment else None,
    )


def _state(job: Job, healthy: int, desired: int, deployment: Deployment | None) -> str:
    if job.stop:
        return "stopped"
    if deployment is not None and deployment.job_version == job.version:
        if not deployment.done:
            return "deploying"
        if deployment.status == "failed":
            return "failed"
    return "healthy" if healthy >= desired else "degraded"


def _deployment(deployment: Deployment) -> DeploymentState:
    groups = deployment.groups.values()
    return DeploymentState(
        id=deployment.id,
        status=deployment.status,
        description=deployment.status_description,
        healthy=sum(group.healthy for group in groups),
        desired=sum(group.desired_total for group in groups),
    )


def _concerns(allocation: Allocation) -> bool:
    """Instances that run or should run; what was stopped on purpose and what was replaced is history."""
    return not allocation.done or allocation.desired_status == "run"


def _instance(job: Job, allocation: Allocation, own: Iterable[Instance], sidecars: Iterable[Instance]) -> InstanceState:
    registered = next((found for found in own if allocation.id in found.id), None)
    sidecar = next((found for found in sidecars if allocation.id in found.id), None)
    meta = registered.meta if registered else {}
    current = _service(job, 0, None) if allocation.job_version == job.version else None
    checks = _checks(registered, sidecar)
    state = InstanceState(
        allocation=allocation.id,
        node=allocation.node_name,
        status=allocation.client_status,
        health=sidecar.status if sidecar else "unregistered",
        sidecar=_sidecar_task(allocation),
        version=meta.get("version") or (current.version if current else ""),
        release=meta.get("release") or (current.release if current else ""),
        canary=allocation.canary,
        address=f"{sidecar.address}:{sidecar.port}" if sidecar else "",
        checks=tuple(CheckAnswer(check.name, check.status, check.output.strip()) for check in checks),
        why="",
    )
    return state if state.health == _PASSING else replace(state, why=_why(allocation, checks))


def _checks(registered: Instance | None, sidecar: Instance | None) -> list[Check]:
    """The checks of an instance and of its sidecar, those of their node once."""
    found: dict[str, Check] = {}
    for instance in (registered, sidecar):
        for check in instance.checks if instance else ():
            found.setdefault(check.id, check)
    return list(found.values())


def _sidecar_task(allocation: Allocation) -> str:
    return next((state.state for name, state in allocation.tasks.items() if name.startswith(_SIDECAR_TASK)), "")


def _why(allocation: Allocation, checks: Iterable[Check]) -> str:
    """The most telling reason: a task in trouble, a check that fails, or that it only just begins or ends."""
    if allocation.desired_status == "stop" and allocation.client_status == "running":
        return "it is being stopped: nobody is sent to it, and it ends what it still answers"
    tasks = sorted(allocation.tasks.items(), key=lambda item: item[0].startswith(_SIDECAR_TASK))
    troubled = [(name, task) for name, task in tasks if task.failed or _ended(name, task) or task.restarts]
    # A task that was stopped because the other one failed says nothing of the cause.
    for name, task in sorted(troubled, key=lambda item: not _telling(item[1])):
        return f"task {name}: {_last_event(task)}"
    for check in checks:
        if check.status != _PASSING:
            return f"check {check.name!r} is {check.status}: {' '.join(check.output.split())}".rstrip(": ")
    for name, task in tasks:
        if task.state == "pending":
            return f"task {name} has not started: {_last_event(task)}"
    return f"the allocation is {allocation.client_status} and not registered in Consul"


def _ended(name: str, task: TaskState) -> bool:
    """Whether a task ended that has to run; a helper that did its work before or after the service has not failed."""
    return task.state == "dead" and (name == TASK or name.startswith(_SIDECAR_TASK))


def _telling(task: TaskState) -> list[TaskEvent]:
    """The events that name a cause."""
    return [event for event in task.events if event.type not in _CONSEQUENCES]


def _last_event(task: TaskState) -> str:
    last = next(iter(reversed(_telling(task) or list(task.events))), None)
    return f"{last.type}: {last.message}".rstrip(": ") if last else task.state


def _unplaced(session: Session, job: Job) -> str:
    """What the scheduler says now of the instances that are missing."""
    with contextlib.suppress(ServerError):
        failed = session.nomad.plan_job(job.body).failed
        return "; ".join(f"{group}: {failure.reason()}" for group, failure in failed.items())
    return ""
