"""``platform``: the platform's own jobs are installed, removed and looked at like services, with the same guards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import deployment_of, follow, follow_deployment
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.consul_types import StoredEntry
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad_types import Job
from hms_nomad.compile.canary import owner_of
from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry
from hms_nomad.compile.http_routes import GATEWAY_KIND, ROUTE_KIND
from hms_nomad.compile.platform_job import TELEMETRY_FILES, CompiledPlatformJob, compile_autoscaler, compile_telemetry
from hms_nomad.compile.proxy_job import EGRESS_KIND, compile_egress, compile_gateway
from hms_nomad.compile.registry_job import compile_registry
from hms_nomad.compile.rollout_job import compile_rollouts
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.plan.normal import ATTEMPT_KEY, entry_differences
from hms_nomad.platform.jobspecs import read_job, read_text
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.platform.autoscaler import autoscaler_trouble
from hms_nomad.workflows.rollouts.rollout_job import ROLLOUTS as ROLLOUTS  # noqa: PLC0414 - one of the kinds
from hms_nomad.workflows.rollouts.rollout_job import drivers, runs_so, try_out
from hms_nomad.workflows.session import Session

GATEWAY = "gateway"
EGRESS = "egress"
AUTOSCALER = "autoscaler"
TELEMETRY = "telemetry"
REGISTRY = "registry"
KINDS = (GATEWAY, EGRESS, AUTOSCALER, TELEMETRY, ROLLOUTS, REGISTRY)
"""The jobs that ship with the program, by the names of their sections in a context."""

_WAIT_SECONDS = 5.0
_MENDS = {GATEWAY: "make their routes private", ROLLOUTS: "wait for the end of their rollouts"}
_ENTRIES = {GATEWAY: GATEWAY_KIND, EGRESS: EGRESS_KIND}


class PlatformOutcome(Struct, frozen=True):
    """What was done to a job of the platform; ``failure`` says why it did not become healthy.

    The job of ``kind`` "rollouts" has an instance only while it drives a rollout.
    """

    kind: str
    job: str
    changed: bool
    instances: int
    failure: Failure | None = None


class PlatformJob(Struct, frozen=True):
    """A job of the platform as it is.

    ``state`` is "not installed", "running", "degraded", "stopped" or "outdated" (the platform's configuration asks
    for something else than what runs). Of the job that drives rollouts, ``healthy`` counts those under way.
    """

    kind: str
    name: str
    state: str
    healthy: int
    desired: int
    detail: str


def install(session: Session, kind: str, timeout: float, report: Report) -> PlatformOutcome:
    """Run a job of the platform, such as "gateway", as the platform describes it, and wait up to ``timeout``
    seconds until it is healthy. The job that drives rollouts is tried out, each time.

    Changes nothing when it runs so already. Raises PlatformError, ForeignObjectError, ConflictError,
    DeadlineExceededError, and the other errors of ``hms_nomad.clients.errors``.
    """
    with guarded(session, _name(session.platform, kind), Intent("platform install"), report) as run:
        install_it = _install_rollouts if kind == ROLLOUTS else _install
        return run.concluded(install_it(session, kind, timeout, run.report))


def _install_rollouts(session: Session, kind: str, timeout: float, report: Report) -> PlatformOutcome:
    deadline = time.monotonic() + timeout
    compiled = _compiled(session.platform, kind)
    stored = session.nomad.read_job(compiled.name)
    _refuse_foreign("job", compiled.name, stored.meta if stored and not stored.stop else None)
    changed = stored is None or not runs_so(stored, compiled)
    if changed:
        session.nomad.register_job(compiled.job, stored.modify_index if stored else 0)
        report(Event("apply", f"job {compiled.name} registered", {"kind": "job", "name": compiled.name}))
    failure = try_out(session, compiled, deadline, report)
    return PlatformOutcome(kind, compiled.name, changed, len(drivers(session, compiled.name)), failure)


def _install(session: Session, kind: str, timeout: float, report: Report) -> PlatformOutcome:
    deadline = time.monotonic() + timeout
    compiled = _compiled(session.platform, kind)
    written = [_write_entry(session, entry, report) for entry in compiled.entries]
    changed = any(written)
    stored = session.nomad.read_job(compiled.name)
    _refuse_foreign("job", compiled.name, stored.meta if stored and not stored.stop else None)
    latest = deployment_of(session.nomad, stored.id, stored.version) if stored else None
    settled = latest is None or latest.status == "successful"
    if stored is not None and settled and _runs(stored, compiled):
        return PlatformOutcome(kind, compiled.name, changed, _await_instances(session, compiled, deadline))
    if stored is not None and latest is not None and not latest.done and _runs(stored, compiled):
        verdict = follow_deployment(session.nomad, latest, deadline, report)
    else:
        body = compiled.job if stored is None or settled else _with_attempt(compiled.job, stored.version + 1)
        registration = session.nomad.register_job(body, stored.modify_index if stored else 0)
        report(Event("apply", f"job {compiled.name} registered", {"kind": "job", "name": compiled.name}))
        verdict = follow(session.nomad, compiled.name, registration, deadline, report)
    if not verdict.healthy:
        version = verdict.deployment.job_version if verdict.deployment else None
        failure = explain_failure(session.nomad, session.consul, compiled.name, version, verdict.reason)
        return PlatformOutcome(kind, compiled.name, True, 0, failure)
    return PlatformOutcome(kind, compiled.name, True, _await_instances(session, compiled, deadline))


def remove(session: Session, kind: str, timeout: float, report: Report, *, force: bool = False) -> PlatformOutcome:
    """Stop a job of the platform, wait up to ``timeout`` seconds until it is gone, and delete its config entry.

    Routes of services stay, and are bound again by the next gateway. Raises PlatformError when services are reached
    through it and ``force`` is not set, ForeignObjectError, DeadlineExceededError, and the errors of
    ``hms_nomad.clients.errors``.
    """
    with guarded(session, _name(session.platform, kind), Intent("platform remove"), report) as run:
        return run.concluded(_remove(session, kind, timeout, run.report, force=force))


def _remove(session: Session, kind: str, timeout: float, report: Report, *, force: bool) -> PlatformOutcome:
    name = _name(session.platform, kind)
    entry = session.consul.read_entry(_ENTRIES[kind], name) if kind in _ENTRIES else None
    job = session.nomad.read_job(name)
    if entry is not None:
        _refuse_foreign(entry.kind, name, _meta(entry))
    _refuse_foreign("job", name, job.meta if job and not job.stop else None)
    users = _services_behind(session, kind, entry)
    if users and not force:
        mend = _MENDS.get(kind, "stop them")
        raise PlatformError(f"{', '.join(users)} would be cut off; {mend} first, or use --force")
    for driver in drivers(session, name) if kind == ROLLOUTS else ():
        session.nomad.stop_job(driver.job_id)
        _await_end(session, driver.job_id, time.monotonic() + timeout)
    if job is not None:
        session.nomad.stop_job(name, purge=True)
        report(Event("apply", f"job {name} stopped", {"kind": "job", "name": name}))
        _await_end(session, name, time.monotonic() + timeout)
    for wanted in reversed(_compiled(session.platform, kind).entries):
        # Read only now: Consul notes in a gateway that its route is gone.
        one = session.consul.read_entry(wanted.kind, wanted.name)
        if one is not None and (_meta(one) or {}).get(OWNER_KEY) == OWNER:
            session.consul.delete_entry(one.kind, one.name, one.modify_index)
            report(Event("apply", f"{one.kind} {name} deleted", {"kind": one.kind, "name": name}))
    return PlatformOutcome(kind, name, job is not None or entry is not None, 0)


def platform_status(session: Session) -> tuple[PlatformJob, ...]:
    """The jobs of the platform, installed or not. Raises the errors of ``hms_nomad.clients.errors``."""
    return tuple(_status(session, kind) for kind in KINDS if getattr(session.platform, kind) is not None)


def _status(session: Session, kind: str) -> PlatformJob:
    section = _section(session.platform, kind)
    name, wanted = str(section.name), int(getattr(section, "instances", 0))
    job = session.nomad.read_job(name)
    try:
        compiled = _compiled(session.platform, kind)
    except PlatformError as error:
        # Nobody needs to say how a job runs that he does not install.
        return PlatformJob(kind, name, "not installed" if job is None else "outdated", 0, wanted, str(error))
    if job is None:
        hint = f"install it with: hms-nomad platform install {kind}"
        return PlatformJob(kind, name, "not installed", 0, wanted, hint)
    if kind == ROLLOUTS:
        return _status_of_rollouts(session, job, compiled)
    healthy = sum(one.status == "passing" for one in session.consul.instances(name).value)
    state, detail = _state(session, job, kind, compiled, healthy)
    return PlatformJob(kind, name, state, healthy, wanted, detail)


def _status_of_rollouts(session: Session, job: Job, compiled: CompiledPlatformJob) -> PlatformJob:
    driven = drivers(session, compiled.name)
    state, detail = _state_of(job, compiled, ROLLOUTS, runs_so(job, compiled))
    what = f"drives {', '.join(sorted(driver.service for driver in driven))}" if driven else "drives no rollout now"
    return PlatformJob(ROLLOUTS, compiled.name, state, len(driven), len(driven), detail or what)


def _state(session: Session, job: Job, kind: str, compiled: CompiledPlatformJob, healthy: int) -> tuple[str, str]:
    state, detail = _state_of(job, compiled, kind, _runs(job, compiled))
    if state != "running":
        return state, detail
    if healthy < compiled.instances:
        return "degraded", f"see hms-nomad logs {compiled.name}"
    if kind == AUTOSCALER and (trouble := autoscaler_trouble(session)):
        return "degraded", trouble
    if compiled.entry is None:
        return "running", ""
    entry = session.consul.read_entry(compiled.entry.kind, compiled.name)
    wrong = [one.message for one in entry.conditions if one.type == "Accepted" and not one.true] if entry else ["gone"]
    return ("degraded", f"its listener is refused: {wrong[0]}") if wrong else ("running", "")


def _state_of(job: Job, compiled: CompiledPlatformJob, kind: str, as_asked: bool) -> tuple[str, str]:
    """What the stored job alone says; "running" when nothing is wrong with it."""
    if job.meta.get(OWNER_KEY) != OWNER:
        return "foreign", f"a job {compiled.name} runs that is not ours"
    if job.stop:
        return "stopped", f"start it with: hms-nomad platform install {kind}"
    if not as_asked:
        return "outdated", f"the platform's configuration has changed; see hms-nomad platform install {kind}"
    return "running", ""


def _name(platform: Platform, kind: str) -> str:
    return str(_section(platform, kind).name)


def _section(platform: Platform, kind: str) -> Any:
    section = getattr(platform, kind)
    if section is None:
        raise PlatformError(f"the platform {platform.name} has no {kind}; remove {kind}: null from its context")
    return section


def _compiled(platform: Platform, kind: str) -> CompiledPlatformJob:
    section = _section(platform, kind)
    if kind == AUTOSCALER:
        return compile_autoscaler(
            read_job("autoscaler"), read_text("autoscaler.hcl"), read_text("autoscaler.sh"), platform, section
        )
    if kind == TELEMETRY:
        files = {name: read_text(f"telemetry/{name}") for name in TELEMETRY_FILES}
        return compile_telemetry(read_job("telemetry"), files, platform, section)
    if kind == ROLLOUTS:
        return compile_rollouts(read_job(ROLLOUTS), platform, section)
    if kind == REGISTRY:
        return compile_registry(read_job(REGISTRY), platform, section)
    proxy = read_job("proxy"), read_job("proxy.envoy"), read_text("proxy.sh")
    if kind == EGRESS:
        return compile_egress(*proxy, platform, section)
    return compile_gateway(*proxy, read_job("gateway.envoy"), read_text("gateway.lua"), platform, section)


def _write_entry(session: Session, entry: ConfigEntry, report: Report) -> bool:
    stored = session.consul.read_entry(entry.kind, entry.name)
    _refuse_foreign(entry.kind, entry.name, _meta(stored))
    body = dict(entry.body)
    if entry.kind == EGRESS_KIND and stored is not None:
        # External services were added to it, by their own deploys.
        body["Services"] = stored.body.get("Services") or []
    if stored is not None and not entry_differences(stored.body, body):
        return False
    session.consul.write_entry(body, stored.modify_index if stored else 0)
    report(Event("apply", f"{entry.kind} {entry.name} written", {"kind": entry.kind, "name": entry.name}))
    return True


def _refuse_foreign(kind: str, name: str, meta: Mapping[str, str] | None) -> None:
    if meta is not None and meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError(kind, name)


def _meta(entry: StoredEntry | None) -> Mapping[str, str] | None:
    return None if entry is None else entry.body.get("Meta") or {}


def _runs(job: Job, compiled: CompiledPlatformJob) -> bool:
    """Whether a stored job is the compiled one, the count included."""
    group: Mapping[str, Any] = next(iter(job.body.get("TaskGroups") or ()), {})
    service: Mapping[str, Any] = next(iter(group.get("Services") or ()), {})
    same = (service.get("Meta") or {}).get("digest") == compiled.digest
    return not job.stop and same and group.get("Count") == compiled.instances


def _with_attempt(job: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The same job as one more attempt: Nomad deploys no equal job again after its deployment failed."""
    group = job["TaskGroups"][0]
    task = {**group["Tasks"][0], "Meta": {ATTEMPT_KEY: str(number)}}
    return {**job, "TaskGroups": [{**group, "Tasks": [task]}]}


def _await_instances(session: Session, compiled: CompiledPlatformJob, deadline: float) -> int:
    """How many instances Consul lists as healthy, once these are as many as the job asks for."""
    wanted, index = compiled.instances, 0
    while True:
        answer = session.consul.instances(compiled.name, passing=True, index=index, wait=_WAIT_SECONDS)
        if len(answer.value) >= wanted:
            return len(answer.value)
        if time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"Consul lists {len(answer.value)} of {wanted} instances of {compiled.name} as healthy"
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


def _services_behind(session: Session, kind: str, entry: StoredEntry | None) -> tuple[str, ...]:
    """Who is reached through a gateway, or the external services behind an egress, or whose rollouts are driven."""
    if kind == ROLLOUTS:
        return tuple(sorted(driver.service for driver in drivers(session, _name(session.platform, kind))))
    if entry is None:
        return ()
    if kind == EGRESS:
        return tuple(sorted(str(service["Name"]) for service in entry.body.get("Services") or ()))
    return tuple(
        sorted(
            {
                owner_of(route.name)
                for route in session.consul.list_entries(ROUTE_KIND)
                if route.name != entry.name
                and any(parent.get("Name") == entry.name for parent in route.body.get("Parents") or ())
            }
        )
    )
