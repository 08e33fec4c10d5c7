"""Session -> what the doctor judges of the platform's jobs, of services, and of what commands left."""

from __future__ import annotations

import contextlib

from hms_nomad.clients.errors import NotFoundError, ServerError
from hms_nomad.compile.canary import owner_of
from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.doctor.known_answers import decoded
from hms_nomad.doctor.work import Left, PlatformFacts, PlatformJobFacts, ServiceFacts, TraceFacts
from hms_nomad.workflows.fleet import our_jobs, side_by_side
from hms_nomad.workflows.operating.orphans import find_orphans
from hms_nomad.workflows.operating.status import ServiceDetail, list_status, service_status
from hms_nomad.workflows.planning.drift import DriftState, drift
from hms_nomad.workflows.platform.jobs import platform_status
from hms_nomad.workflows.session import Session

_LINES = 40
_MOST_DETAILS = 20
_TROUBLED = frozenset({"degraded", "failed", "deploying"})
_EARLY = frozenset({"D600", "D614"})
"""What an instance says that has only just begun."""


def drivers_of_services(session: Session) -> frozenset[str]:
    """The drivers that tasks of our services name."""
    jobs = side_by_side(session.nomad.read_job, [job.id for job in our_jobs(session)])
    groups = [group for job in jobs if job is not None for group in job.body.get("TaskGroups") or ()]
    tasks = [task for group in groups for task in group.get("Tasks") or ()]
    return frozenset(str(task["Driver"]) for task in tasks if task.get("Driver"))


def ask_platform(session: Session) -> PlatformFacts:
    """The jobs of the platform, and who needs them. Raises the errors of ``hms_nomad.clients.errors``."""
    jobs = [
        PlatformJobFacts(
            one.kind, one.name, one.state, one.detail, _said(session, one.name) if one.state == "degraded" else ""
        )
        for one in platform_status(session)
    ]
    scaled = [one.service for one in list_status(session) if one.scaling["max"] > one.scaling["min"]]
    gateway = session.platform.gateway
    public = {
        owner_of(route.name)
        for route in session.consul.list_entries(ROUTE_KIND)
        if gateway and any(parent.get("Name") == gateway.name for parent in route.body.get("Parents") or ())
    }
    return PlatformFacts(jobs, scaled, sorted(public))


def ask_services(session: Session, name: str | None) -> tuple[ServiceFacts, ...]:
    """Our services, or the one named, with what is said about instances that are not well.

    Raises NotFoundError, and the other errors of ``hms_nomad.clients.errors``.
    """
    if name is not None:
        return (_facts(session, service_status(session, name)),)
    found = []
    details = 0
    for one in list_status(session):
        if one.state in _TROUBLED and details < _MOST_DETAILS:
            details += 1
            with contextlib.suppress(NotFoundError):
                found.append(_facts(session, service_status(session, one.service)))
        else:
            found.append(ServiceFacts(one.service, one.state, one.healthy, one.desired))
    return tuple(found)


def ask_traces(session: Session, name: str | None) -> TraceFacts:
    """What commands left, and what was changed by hand. Raises the errors of ``hms_nomad.clients.errors``."""
    orphans = find_orphans(session, name)
    gone = {one.service for one in orphans if one.kind == "entry"}
    changed = {
        one.service: ", ".join(f"{part.kind} {part.name} is {part.state}" for part in one.objects)
        for one in drift(session, (name,) if name else ())
        if one.state is DriftState.DRIFTED and one.service not in gone
    }
    return TraceFacts(tuple(Left(one.kind, one.service, one.what, one.remedy) for one in orphans), changed)


def _facts(session: Session, detail: ServiceDetail) -> ServiceFacts:
    summary = detail.summary
    complaints = [detail.unplaced] if detail.unplaced else []
    for one in detail.instances:
        if one.why and not (summary.state == "deploying" and decoded(one.why) in _EARLY):
            complaints.append(one.why)
            complaints += _sidecar_lines(session, one.allocation, summary.service)
    return ServiceFacts(summary.service, summary.state, summary.healthy, summary.desired, complaints)


def _sidecar_lines(session: Session, allocation: str, service: str) -> list[str]:
    """The last words of an instance's sidecar that tell a cause; none where they cannot be read."""
    try:
        lines = list(session.nomad.logs(allocation, f"connect-proxy-{service}", "stderr", _LINES))
    except ServerError:
        return []
    return [line for line in lines if "DataSource cannot be empty" in line][:1]


def _said(session: Session, name: str) -> str:
    """What an unhealthy job of the platform wrote last."""
    try:
        allocations = session.nomad.job_allocations(name).value
        latest = max(allocations, key=lambda one: one.create_index, default=None)
        if latest is None:
            return ""
        events = [event.message for task in latest.tasks.values() for event in task.events if task.failed]
        lines = [
            line
            for task in latest.tasks
            for line in session.nomad.logs(latest.id, task, "stderr", _LINES)
            if "critical" in line or "error" in line.lower()
        ]
        return " ".join([*lines[-3:], *events[-3:]])
    except ServerError:
        return ""
