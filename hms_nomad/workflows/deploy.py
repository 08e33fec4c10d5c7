"""``deploy``: a spec becomes a healthy service; the second time with the same spec nothing happens.

The order is Consul's entries first, then the job: traffic can only ever be sent to a service whose rules stand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import Verdict, follow, follow_deployment
from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.write import register, write_entries, write_routes
from hms_nomad.clients.errors import ConflictError, DeadlineExceededError
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, Change, Plan
from hms_nomad.plan.diff import make_plan, with_attempt
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import Observed
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.gateway import open_routes, route_warnings
from hms_nomad.workflows.observe import observe, read_mesh
from hms_nomad.workflows.session import Session

_SHARED_ENTRY_TRIES = 5
_REGISTRY_WAIT_SECONDS = 5.0


class Status(StrEnum):
    """How a deploy ended."""

    DEPLOYED = "deployed"
    UNCHANGED = "unchanged"
    DETACHED = "detached"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """``timeout`` bounds the command in seconds (None: the spec's deadlines); ``detach`` ends it at the registration."""

    timeout: float | None = None
    detach: bool = False


@dataclass(frozen=True, slots=True)
class DeployOutcome:
    """What a deploy did. ``changed`` is False when everything stood already; ``failure`` says why it failed."""

    service: str
    status: Status
    changed: bool
    version: str
    release: str
    url: str
    instances: int
    scaling: Mapping[str, int]
    plan: Plan
    failure: Failure | None = None
    deployment: str | None = None
    warnings: tuple[str, ...] = field(default=())


def deploy(session: Session, spec: Spec, options: DeployOptions, report: Report) -> DeployOutcome:
    """Bring the servers to what the spec says and wait until it is healthy (chapter 12, sections 3.2 and 4.1).

    Raises ForeignObjectError for objects that are not ours, ConflictError when another writer won,
    DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``. Any interruption is repaired by the same
    command.
    """
    started = time.monotonic()
    desired = compile_spec(spec, session.platform)
    plan, observed = _plan(session, desired)
    report(Event("plan", f"{len(plan.effective)} objects to change", {"changes": len(plan.effective)}))
    deadline = started + (options.timeout or _patience(desired))
    if plan.empty:
        warnings = route_warnings(session, spec)
        return _outcome(session, spec, desired, plan, Status.UNCHANGED, changed=False, warnings=warnings)
    if not plan.effective and (running := _running_deployment(session, desired, observed)) is not None:
        report(Event("deployment", f"a deployment of this release runs already: {running.id[:8]}", {}))
        verdict = follow_deployment(session.nomad, running, deadline, report)
        return _conclude(session, spec, desired, plan, verdict, deadline, report)
    plan = _write_entries(session, desired, plan, report)
    job = _job_change(plan)
    if job.action is Action.KEEP and not plan.unfinished:
        warnings = open_routes(session, spec, plan, deadline, report)
        return _outcome(session, spec, desired, plan, Status.DEPLOYED, changed=True, warnings=warnings)
    registration = register(with_attempt(job, observed.job) if plan.unfinished else job, session.nomad, report)
    if options.detach:
        # Nobody will be there to open the way in once the service is healthy.
        write_routes(plan.changes, session.consul, report)
        return _outcome(session, spec, desired, plan, Status.DETACHED, changed=True)
    verdict = follow(session.nomad, desired.service, registration, deadline, report)
    return _conclude(session, spec, desired, plan, verdict, deadline, report)


def _plan(session: Session, desired: Desired) -> tuple[Plan, Observed]:
    observed = observe(session.nomad, desired.service, read_mesh(session.consul))
    return make_plan(desired, observed), observed


def _write_entries(session: Session, desired: Desired, plan: Plan, report: Report) -> Plan:
    """Write the plan's entries; many specs share service-intentions, so losing a race for one means planning again."""
    for remaining in reversed(range(_SHARED_ENTRY_TRIES)):
        try:
            write_entries(plan.changes, session.consul, report)
        except ConflictError as conflict:
            if remaining == 0 or INTENTIONS not in conflict.operation:
                raise
            plan, _ = _plan(session, desired)
        else:
            break
    return plan


def _running_deployment(session: Session, desired: Desired, observed: Observed) -> Any:
    if observed.job is None:
        return None
    deployments = session.nomad.job_deployments(desired.service)
    return next((d for d in deployments if d.job_version == observed.job.version and not d.done), None)


def _conclude(
    session: Session,
    spec: Spec,
    desired: Desired,
    plan: Plan,
    verdict: Verdict,
    deadline: float,
    report: Report,
) -> DeployOutcome:
    if not verdict.healthy:
        return _failed(session, spec, desired, plan, verdict, report)
    what = f"Image {spec.image} pulled" if spec.image else f"Command {spec.command[0]} started"
    report(Event("image", what, {"image": spec.image, "command": list(spec.command)}))
    _await_registration(session, spec, deadline)
    report(Event("registered", "Registered in service mesh", {"service": spec.name}))
    bounds = {"min": spec.scaling.min, "max": spec.scaling.max}
    report(Event("scaling", f"Auto-scaler set ({spec.scaling.min}-{spec.scaling.max})", bounds))
    warnings = open_routes(session, spec, plan, deadline, report)
    return _outcome(session, spec, desired, plan, Status.DEPLOYED, changed=True, verdict=verdict, warnings=warnings)


def _await_registration(session: Session, spec: Spec, deadline: float) -> None:
    """Nomad calls an allocation healthy by its own view; callers need Consul's."""
    index = 0
    while True:
        answer = session.consul.instances(
            spec.name, passing=True, index=index, wait=_REGISTRY_WAIT_SECONDS, connect=True
        )
        if len(answer.value) >= spec.scaling.min:
            return
        if time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"Consul lists {len(answer.value)} of {spec.scaling.min} instances of {spec.name} as healthy"
            )
        index = answer.index


def _failed(
    session: Session, spec: Spec, desired: Desired, plan: Plan, verdict: Verdict, report: Report
) -> DeployOutcome:
    version = verdict.deployment.job_version if verdict.deployment else None
    failure = explain_failure(session.nomad, session.consul, spec.name, version, verdict.reason)
    if plan.release_before is None:
        # There is no earlier release to go back to, and instances that never got healthy would be restarted for ever.
        session.nomad.stop_job(spec.name)
        report(Event("warning", f"{spec.name} stopped: it has no earlier release to go back to", {}))
    return _outcome(session, spec, desired, plan, Status.FAILED, changed=True, verdict=verdict, failure=failure)


def _outcome(
    session: Session,
    spec: Spec,
    desired: Desired,
    plan: Plan,
    status: Status,
    *,
    changed: bool,
    verdict: Verdict | None = None,
    failure: Failure | None = None,
    warnings: tuple[str, ...] = (),
) -> DeployOutcome:
    instances = session.consul.instances(spec.name, passing=True, connect=True).value
    return DeployOutcome(
        service=spec.name,
        status=status,
        changed=changed,
        version=spec.version,
        release=desired.release,
        url=desired.registry.url,
        instances=len(instances),
        scaling={"min": spec.scaling.min, "max": spec.scaling.max},
        plan=plan,
        failure=failure,
        deployment=verdict.deployment.id if verdict and verdict.deployment else None,
        warnings=warnings,
    )


def _job_change(plan: Plan) -> Change:
    return next(change for change in plan.changes if change.kind == "job")


def _patience(desired: Desired) -> float:
    """Seconds a deploy may take: Nomad's progress deadline for each instance, and half a minute for the servers."""
    group = desired.job["TaskGroups"][0]
    waves = max(1, int(group["Count"]))
    return float(group["Update"]["ProgressDeadline"]) / 1e9 * waves + 30
