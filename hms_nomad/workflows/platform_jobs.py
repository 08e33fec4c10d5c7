"""``platform``: the platform's own jobs are installed, removed and looked at like services, with the same guards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import follow, follow_deployment
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.consul_types import StoredEntry
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad_types import Deployment, Job
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.gateway import GATEWAY_KIND, ROUTE_KIND, CompiledGateway, compile_gateway
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.plan.normal import ATTEMPT_KEY, entry_differences
from hms_nomad.platform.jobspecs import read_job
from hms_nomad.platform.model import Gateway, Platform, PlatformError
from hms_nomad.workflows.session import Session

_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PlatformOutcome:
    """What was done to a job of the platform; ``failure`` says why it did not become healthy."""

    job: str
    changed: bool
    instances: int
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class PlatformJob:
    """A job of the platform as it is.

    ``state`` is "not installed", "running", "degraded", "stopped" or "outdated" (the platform's configuration asks
    for something else than what runs).
    """

    kind: str
    name: str
    state: str
    healthy: int
    desired: int
    detail: str


def install_gateway(session: Session, timeout: float, report: Report) -> PlatformOutcome:
    """Run the gateway as the platform describes it, and wait up to ``timeout`` seconds until it is healthy.

    Changes nothing when it runs so already. Raises PlatformError, ForeignObjectError, ConflictError,
    DeadlineExceededError, and the other errors of ``hms_nomad.clients.errors``.
    """
    deadline = time.monotonic() + timeout
    compiled = _compiled(session.platform)
    changed = _write_entry(session, compiled, report)
    stored = session.nomad.read_job(compiled.entry.name)
    _refuse_foreign("job", compiled.entry.name, stored.meta if stored and not stored.stop else None)
    latest = _deployment(session, stored) if stored else None
    settled = latest is None or latest.status == "successful"
    if stored is not None and settled and _runs(stored, compiled):
        return PlatformOutcome(compiled.entry.name, changed, _await_instances(session, compiled, deadline))
    if stored is not None and latest is not None and not latest.done and _runs(stored, compiled):
        verdict = follow_deployment(session.nomad, latest, deadline, report)
    else:
        body = compiled.job if stored is None or settled else _with_attempt(compiled.job, stored.version + 1)
        registration = session.nomad.register_job(body, stored.modify_index if stored else 0)
        report(Event("apply", f"job {compiled.entry.name} registered", {"kind": "job", "name": compiled.entry.name}))
        verdict = follow(session.nomad, compiled.entry.name, registration, deadline, report)
    if not verdict.healthy:
        version = verdict.deployment.job_version if verdict.deployment else None
        failure = explain_failure(session.nomad, session.consul, compiled.entry.name, version, verdict.reason)
        return PlatformOutcome(compiled.entry.name, True, 0, failure)
    return PlatformOutcome(compiled.entry.name, True, _await_instances(session, compiled, deadline))


def remove_gateway(session: Session, timeout: float, report: Report, *, force: bool = False) -> PlatformOutcome:
    """Stop the gateway, wait up to ``timeout`` seconds until it is gone, and delete its config entry.

    Routes of services stay, and are bound again by the next gateway. Raises PlatformError when routes lead through
    it and ``force`` is not set, ForeignObjectError, DeadlineExceededError, and the errors of
    ``hms_nomad.clients.errors``.
    """
    gateway = _gateway(session.platform)
    entry = session.consul.read_entry(GATEWAY_KIND, gateway.name)
    job = session.nomad.read_job(gateway.name)
    _refuse_foreign(GATEWAY_KIND, gateway.name, _meta(entry))
    _refuse_foreign("job", gateway.name, job.meta if job and not job.stop else None)
    users = _services_behind(session, gateway)
    if users and not force:
        raise PlatformError(
            f"{', '.join(users)} would be cut off from the outside; make their routes private first, or use --force"
        )
    if job is not None:
        session.nomad.stop_job(gateway.name, purge=True)
        report(Event("apply", f"job {gateway.name} stopped", {"kind": "job", "name": gateway.name}))
        _await_end(session, gateway.name, time.monotonic() + timeout)
    if entry is not None:
        session.consul.delete_entry(GATEWAY_KIND, gateway.name, entry.modify_index)
        report(Event("apply", f"{GATEWAY_KIND} {gateway.name} deleted", {"kind": GATEWAY_KIND, "name": gateway.name}))
    return PlatformOutcome(gateway.name, job is not None or entry is not None, 0)


def platform_status(session: Session) -> tuple[PlatformJob, ...]:
    """The jobs of the platform, installed or not. Raises the errors of ``hms_nomad.clients.errors``."""
    gateway = session.platform.gateway
    if gateway is None:
        return ()
    job = session.nomad.read_job(gateway.name)
    if job is None:
        hint = "install it with: hms-nomad platform install gateway"
        return (PlatformJob("gateway", gateway.name, "not installed", 0, gateway.instances, hint),)
    healthy = sum(one.status == "passing" for one in session.consul.instances(gateway.name).value)
    state, detail = _state(session, job, gateway, healthy)
    return (PlatformJob("gateway", gateway.name, state, healthy, gateway.instances, detail),)


def _state(session: Session, job: Job, gateway: Gateway, healthy: int) -> tuple[str, str]:
    if job.meta.get(OWNER_KEY) != OWNER:
        return "foreign", f"a job {gateway.name} runs that is not ours"
    if job.stop:
        return "stopped", "start it with: hms-nomad platform install gateway"
    if not _runs(job, _compiled(session.platform)):
        return "outdated", "the platform's configuration has changed; see hms-nomad platform install gateway"
    if healthy < gateway.instances:
        return "degraded", f"see hms-nomad logs {gateway.name}"
    entry = session.consul.read_entry(GATEWAY_KIND, gateway.name)
    wrong = [one.message for one in entry.conditions if one.type == "Accepted" and not one.true] if entry else ["gone"]
    return ("degraded", f"its listener is refused: {wrong[0]}") if wrong else ("running", "")


def _compiled(platform: Platform) -> CompiledGateway:
    return compile_gateway(read_job("gateway"), read_job("gateway.envoy"), platform, _gateway(platform))


def _gateway(platform: Platform) -> Gateway:
    if platform.gateway is None:
        raise PlatformError(f"the platform {platform.name} has no gateway; remove gateway: null from its context")
    return platform.gateway


def _write_entry(session: Session, compiled: CompiledGateway, report: Report) -> bool:
    entry = compiled.entry
    stored = session.consul.read_entry(entry.kind, entry.name)
    _refuse_foreign(entry.kind, entry.name, _meta(stored))
    if stored is not None and not entry_differences(stored.body, entry.body):
        return False
    session.consul.write_entry(entry.body, stored.modify_index if stored else 0)
    report(Event("apply", f"{entry.kind} {entry.name} written", {"kind": entry.kind, "name": entry.name}))
    return True


def _refuse_foreign(kind: str, name: str, meta: Mapping[str, str] | None) -> None:
    if meta is not None and meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError(kind, name)


def _meta(entry: StoredEntry | None) -> Mapping[str, str] | None:
    return None if entry is None else entry.body.get("Meta") or {}


def _runs(job: Job, compiled: CompiledGateway) -> bool:
    """Whether a stored job is the compiled one, the count included."""
    group: Mapping[str, Any] = next(iter(job.body.get("TaskGroups") or ()), {})
    service: Mapping[str, Any] = next(iter(group.get("Services") or ()), {})
    same = (service.get("Meta") or {}).get("digest") == compiled.digest
    return not job.stop and same and group.get("Count") == compiled.job["TaskGroups"][0]["Count"]


def _deployment(session: Session, job: Job) -> Deployment | None:
    """The newest deployment of a job's current version, or None when Nomad has forgotten it already."""
    return next((found for found in session.nomad.job_deployments(job.id) if found.job_version == job.version), None)


def _with_attempt(job: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The same job as one more attempt: Nomad deploys no equal job again after its deployment failed."""
    group = job["TaskGroups"][0]
    task = {**group["Tasks"][0], "Meta": {ATTEMPT_KEY: str(number)}}
    return {**job, "TaskGroups": [{**group, "Tasks": [task]}]}


def _await_instances(session: Session, compiled: CompiledGateway, deadline: float) -> int:
    """How many instances Consul lists as healthy, once these are as many as the job asks for."""
    wanted, index = int(compiled.job["TaskGroups"][0]["Count"]), 0
    while True:
        answer = session.consul.instances(compiled.entry.name, passing=True, index=index, wait=_WAIT_SECONDS)
        if len(answer.value) >= wanted:
            return len(answer.value)
        if time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"Consul lists {len(answer.value)} of {wanted} instances of {compiled.entry.name} as healthy"
            )
        index = answer.index


def _await_end(session: Session, name: str, deadline: float) -> None:
    index = 0
    while True:
        answer = session.nomad.job_allocations(name, index=index, wait=_WAIT_SECONDS)
        running = [one for one in answer.value if not one.done]
        if not running:
            return
        if time.monotonic() > deadline:
            raise DeadlineExceededError(f"{len(running)} instances of {name} have not stopped")
        index = answer.index


def _services_behind(session: Session, gateway: Gateway) -> tuple[str, ...]:
    return tuple(
        sorted(
            entry.name
            for entry in session.consul.list_entries(ROUTE_KIND)
            if any(parent.get("Name") == gateway.name for parent in entry.body.get("Parents") or ())
        )
    )
