"""``scale``: set how many instances of a service run, hold that number for a while, or say why it is what it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import Verdict, follow
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import ConflictError, InvalidRequestError, ServerError
from hms_nomad.clients.nomad_types import AllocationStats, Job, ScalingEvent
from hms_nomad.clients.prometheus import PrometheusClient, single
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.names import GROUP
from hms_nomad.compile.scaling import HOLD_KEY, NOMAD_SOURCE, PROMETHEUS_SOURCE
from hms_nomad.compile.scaling_rules import Rule, Voice, held_until, hold, rules_of, voice, wanted
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.rollout.perform import job_again
from hms_nomad.spec.duration import seconds as seconds_of
from hms_nomad.workflows.deploying.guard import know_the_embedded
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.operating.status import not_there
from hms_nomad.workflows.platform.autoscaler import autoscaler_trouble
from hms_nomad.workflows.platform.telemetry import prometheus
from hms_nomad.workflows.session import Session

LONGEST_HOLD_SECONDS = 30 * 24 * 3600.0
_BYTES = 1024 * 1024


class Scaled(Struct, frozen=True):
    """What ``scale`` did.

    ``held`` says until when the count stays, as "2026-11-24T23:59Z" ("": it is the autoscaler's); ``failure`` why new
    instances did not become healthy.
    """

    service: str
    before: int
    count: int
    minimum: int
    maximum: int
    changed: bool
    held: str
    failure: Failure | None = None


class Explained(Struct, frozen=True):
    """Why a service has as many instances as it has.

    ``target`` is what the rules come to now, ``reason`` why that is, ``hindrance`` what keeps the autoscaler from
    acting on it at all ("" for nothing). ``events`` are Nomad's, newest first; ``resting`` seconds are left of the rest
    after the last one, ``every`` seconds lie between two evaluations.
    """

    service: str
    count: int
    running: int
    minimum: int
    maximum: int
    voices: tuple[Voice, ...]
    target: int
    reason: str
    hindrance: str
    held: str
    every: float
    resting: float
    events: tuple[ScalingEvent, ...]


def scale(session: Session, name: str, count: int, message: str, timeout: float, report: Report) -> Scaled:
    """Set how many instances run, within the bounds of the spec, and wait until they are healthy.

    The autoscaler goes on from there. Raises InvalidRequestError outside the bounds, ConflictError while a deployment
    runs, NotFoundError, ForeignObjectError, DeadlineExceededError after ``timeout`` seconds, PlatformError for the
    embedded agent outside of development, and the errors of ``hms_nomad.clients.errors``.
    """
    deadline = time.monotonic() + timeout
    job = _job(session, name)
    know_the_embedded(session, report)
    scaling, before = _scaling(job), _count(job)
    _within(session, name, scaling, count)
    held = held_until(scaling, datetime.now(UTC))
    if count == before:
        return _scaled(job, before, count, held, changed=False)
    _refuse_deployment(session, job)
    registration = session.nomad.scale_job(name, GROUP, count, message)
    report(Event("apply", f"{name} set from {before} to {count} instances", {"service": name, "count": count}))
    verdict = follow(session.nomad, name, registration, deadline, report)
    failure = _failure(session, name, verdict)
    return _scaled(job, before, count, held, changed=True, failure=failure)


def hold_count(
    session: Session, name: str, count: int | None, duration: float, timeout: float, report: Report
) -> Scaled:
    """Keep a number of instances (None: what runs now) for ``duration`` seconds, whatever the rules say.

    The hold stands in the service's scaling policy, so it ends by itself, and a deploy keeps it. Raises as ``scale``,
    and InvalidRequestError for a hold beyond 30 days.
    """
    if duration > LONGEST_HOLD_SECONDS:
        raise InvalidRequestError("nomad", f"hold {name}", session.nomad.address, "a hold lasts 30 days at most")
    now = datetime.now(UTC)
    times = hold(now, now + timedelta(seconds=duration))
    return _write_hold(session, name, count, times, timeout, report)


def release_hold(session: Session, name: str, timeout: float, report: Report) -> Scaled:
    """Give the count back to the autoscaler, whether or not it is held. Raises as ``scale``."""
    return _write_hold(session, name, None, None, timeout, report)


def explain_scaling(session: Session, name: str) -> Explained:
    """Read the rules of a service, measure what they ask for, and say what the autoscaler makes of it.

    Raises NotFoundError, ForeignObjectError, and the errors of ``hms_nomad.clients.errors``.
    """
    job = _job(session, name)
    scaling, now = _scaling(job), datetime.now(UTC)
    status = (session.nomad.scale_status(name) or {}).get(GROUP)
    running = status.running if status else 0
    rules = rules_of(scaling)
    stats = _stats(session, name)
    with prometheus(session) as metrics:
        values = {rule.name: _measured(rule, job, stats, metrics) for rule in rules}
        blind = metrics is None and any(rule.source == PROMETHEUS_SOURCE for rule in rules)
    voices = tuple(voice(rule, values[rule.name], running, now) for rule in rules)
    minimum, maximum = int(scaling.get("Min") or 0), int(scaling.get("Max") or 0)
    target, reason = wanted(voices, running, minimum, maximum)
    events = status.events if status else ()
    held = held_until(scaling, now)
    resting = _resting(scaling, events, now)
    return Explained(
        service=name,
        count=_count(job),
        running=running,
        minimum=minimum,
        maximum=maximum,
        voices=voices,
        target=target,
        reason=reason,
        hindrance=_hindrance(session, job, stats, held, blind=blind),
        held=_iso(held),
        every=seconds_of((scaling.get("Policy") or {}).get("evaluation_interval") or "10s"),
        resting=resting,
        events=events,
    )


def _write_hold(
    session: Session,
    name: str,
    count: int | None,
    times: list[dict[str, str]] | None,
    timeout: float,
    report: Report,
) -> Scaled:
    deadline = time.monotonic() + timeout
    job = _job(session, name)
    know_the_embedded(session, report)
    scaling, before = _scaling(job), _count(job)
    wanted_count = before if count is None else count
    _within(session, name, scaling, wanted_count)
    _refuse_deployment(session, job)
    policy = {key: value for key, value in (scaling.get("Policy") or {}).items() if key != HOLD_KEY}
    if times is not None:
        policy[HOLD_KEY] = times
    held = held_until({"Policy": policy}, datetime.now(UTC))
    if policy == scaling.get("Policy") and wanted_count == before:
        return _scaled(job, before, wanted_count, held, changed=False)
    body = job_again(job.body, wanted_count)
    group = body["TaskGroups"][0]
    group["Scaling"] = {**group["Scaling"], "Policy": policy}
    registration = session.nomad.register_job(body, job.modify_index)
    what = f"{name} held at {wanted_count} instances" if times else f"{name} given back to the autoscaler"
    report(Event("apply", what, {"service": name, "count": wanted_count}))
    verdict = follow(session.nomad, name, registration, deadline, report)
    failure = _failure(session, name, verdict)
    return _scaled(job, before, wanted_count, held, changed=True, failure=failure)


def _job(session: Session, name: str) -> Job:
    job = session.nomad.read_job(name)
    if job is None or job.stop:
        raise not_there(session, name)
    if job.meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError("job", name)
    if not _scaling(job):
        detail = f"{name} is a job of the platform; its context says how many run"
        raise InvalidRequestError("nomad", f"scale {name}", session.nomad.address, detail)
    return job


def _group(job: Job) -> Mapping[str, Any]:
    groups = job.body.get("TaskGroups") or [{}]
    first: Mapping[str, Any] = groups[0]
    return first


def _scaling(job: Job) -> Mapping[str, Any]:
    return _group(job).get("Scaling") or {}


def _count(job: Job) -> int:
    return int(_group(job).get("Count") or 0)


def _within(session: Session, name: str, scaling: Mapping[str, Any], count: int) -> None:
    low, high = int(scaling.get("Min") or 0), int(scaling.get("Max") or 0)
    if not low <= count <= high:
        detail = f"{name} runs between {low} and {high} instances; change scaling in its spec to go beyond"
        raise InvalidRequestError("nomad", f"set {name} to {count}", session.nomad.address, detail)


def _refuse_deployment(session: Session, job: Job) -> None:
    """Registering the job would cut a rollout short; Nomad refuses no more than another count, without the way on."""
    if (running := _deployment(session, job)) is not None:
        detail = (
            f"deployment {running} of it is under way, and the count stays until it ends; follow it with "
            f"hms-nomad watch {job.id}, end it with hms-nomad promote or abort {job.id}"
        )
        raise ConflictError("nomad", f"scale {job.id}", session.nomad.address, detail)


def _deployment(session: Session, job: Job) -> str | None:
    # Nomad ends a job's deployment where it begins another one.
    newest = session.nomad.newest_deployment(job.id)
    return newest.id[:8] if newest is not None and not newest.done else None


def _failure(session: Session, name: str, verdict: Verdict) -> Failure | None:
    if verdict.healthy:
        return None
    version = verdict.deployment.job_version if verdict.deployment else None
    return explain_failure(session.nomad, session.consul, name, version, verdict.reason)


def _scaled(
    job: Job, before: int, count: int, held: datetime | None, *, changed: bool, failure: Failure | None = None
) -> Scaled:
    scaling = _scaling(job)
    return Scaled(
        job.id, before, count, int(scaling.get("Min") or 0), int(scaling.get("Max") or 0), changed, _iso(held), failure
    )


def _iso(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}" if moment else ""


def _stats(session: Session, name: str) -> list[AllocationStats]:
    """What each running instance uses; none at all when one of them cannot be asked, as the autoscaler has it."""
    running = [one for one in session.nomad.job_allocations(name).value if one.client_status == "running"]
    try:
        return side_by_side(lambda allocation: session.nomad.allocation_stats(allocation.id), running)
    except ServerError:
        return []


def _measured(rule: Rule, job: Job, stats: list[AllocationStats], metrics: PrometheusClient | None) -> float | None:
    if rule.source == NOMAD_SOURCE:
        return used_percent(rule.name, job, stats)
    if rule.source == PROMETHEUS_SOURCE and metrics is not None:
        try:
            return single(metrics.query(rule.query))
        except ServerError:
            # What cannot be asked is what the autoscaler does not know either.
            return None
    return None


def used_percent(resource: str, job: Job, stats: list[AllocationStats]) -> float | None:
    """How much of what they reserved the instances use on average: "cpu" or "memory", in percent; None for none."""
    tasks = _group(job).get("Tasks") or ()
    key = "CPU" if resource == "cpu" else "MemoryMB"
    reserved = sum(int((task.get("Resources") or {}).get(key) or 0) for task in tasks)
    if not stats or not reserved:
        return None
    used = [one.cpu_ticks if resource == "cpu" else one.memory_bytes / _BYTES for one in stats]
    return 100 * sum(used) / len(used) / reserved


def _resting(scaling: Mapping[str, Any], events: tuple[ScalingEvent, ...], now: datetime) -> float:
    last = next((one for one in events if one.count is not None and not one.error), None)
    if last is None or last.count is None:
        return 0.0
    policy = scaling.get("Policy") or {}
    up = last.count > last.previous_count
    rest = policy.get("cooldown_on_scale_up" if up else "cooldown") or policy.get("cooldown") or "5m"
    return max(0.0, seconds_of(rest) - (now.timestamp() - last.time_ns / 1e9))


def _hindrance(session: Session, job: Job, stats: list[AllocationStats], held: datetime | None, *, blind: bool) -> str:
    """The first thing that keeps the autoscaler from acting, whatever the rules say."""
    running, trouble = _deployment(session, job), autoscaler_trouble(session)
    unmeasured = bool(stats) and not any(one.cpu_ticks or one.memory_bytes for one in stats)
    hold_end = f"{held:%Y-%m-%d %H:%M} UTC" if held else ""
    reasons = (
        (trouble, trouble),
        (held, f"the count is held until {hold_end}; lift it with: hms-nomad scale {job.id} --auto"),
        (not _scaling(job).get("Enabled", True), "the policy is switched off in the job"),
        (running, f"deployment {running} is under way, and Nomad lets no count change meanwhile"),
        (blind, "a rule needs Prometheus, without which none is evaluated: hms-nomad platform install telemetry"),
        (
            unmeasured,
            "the nodes measure nothing: set publish_allocation_metrics = true in their telemetry block",
        ),
    )
    return next((reason for holds, reason in reasons if holds), "")
