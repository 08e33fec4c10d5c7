"""``top``: all services with how many instances they have, what these use, and how they answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.nomad_types import AllocationStats, Deployment, GroupScale, Job
from hms_nomad.clients.prometheus import PrometheusClient, Sample
from hms_nomad.compile.names import GROUP
from hms_nomad.compile.scaling_rules import held_until
from hms_nomad.output.top import Figures
from hms_nomad.workflows.fleet import service_names, side_by_side
from hms_nomad.workflows.operating.scale import used_percent
from hms_nomad.workflows.operating.status import not_there
from hms_nomad.workflows.platform.autoscaler import autoscaler_trouble
from hms_nomad.workflows.platform.telemetry import prometheus
from hms_nomad.workflows.session import Session

_SERIES = {
    "cpu": "hms:cpu_percent",
    "memory": "hms:memory_percent",
    "requests": "hms:requests_per_second",
    "errors": "100 * hms:error_ratio",
    "p99": "hms:latency_p99_milliseconds",
}
_TREND_SECONDS = 600.0
_TREND_POINTS = 10


class _Known(Struct, frozen=True):
    """What Prometheus knows: figures by name and service, and requests a second over the last minutes by service."""

    figures: Mapping[str, Mapping[str, float]] = msgspec.field(default_factory=dict)
    trends: Mapping[str, tuple[float, ...]] = msgspec.field(default_factory=dict)


def top(session: Session, names: tuple[str, ...] = ()) -> tuple[Figures, ...]:
    """The services of ``names``, or all of ours in the namespace, by name, without those that do not run.

    Figures come from Prometheus where the platform has one. Without it CPU and memory are asked of each instance, and
    the others stay unknown. Raises NotFoundError for one of ``names`` that does not run, and the other errors of
    ``hms_nomad.clients.errors``.
    """
    chosen = names or service_names(session)
    if not chosen:
        return ()
    with prometheus(session) as metrics:
        known = _Known() if metrics is None else _known(metrics)
    scaled = not autoscaler_trouble(session)
    deployments = {one.job_id: one for one in reversed(session.nomad.list_deployments())}
    jobs = [job for job in side_by_side(session.nomad.read_job, chosen) if job is not None and not job.stop]
    if missing := sorted(set(names) - {job.id for job in jobs}):
        raise not_there(session, missing[0])
    scales = side_by_side(session.nomad.scale_status, [job.id for job in jobs])
    return tuple(
        _figures(session, job, (scale or {}).get(GROUP), deployments.get(job.id), known, scaled=scaled)
        for job, scale in zip(jobs, scales, strict=True)
    )


def figures_of(session: Session, name: str) -> Figures | None:
    """The figures of one service; None for what is no service, or while its servers cannot be asked."""
    try:
        found = top(session, (name,))
    except ServerError:
        return None
    return found[0] if found and found[0].maximum else None


def _known(metrics: PrometheusClient) -> _Known:
    """Nothing is known of a Prometheus that cannot be asked: what Nomad says is shown all the same."""
    try:
        figures = {name: _by_service(metrics.query(series)) for name, series in _SERIES.items()}
        step = _TREND_SECONDS / _TREND_POINTS
        series = metrics.history("hms:requests_per_second", time.time(), _TREND_SECONDS - step, step)
    except ServerError:
        return _Known()
    trends = {one[0].labels.get("service", ""): tuple(sample.value for sample in one) for one in series if one}
    return _Known(figures, trends)


def _by_service(samples: tuple[Sample, ...]) -> dict[str, float]:
    return {one.labels.get("service", ""): one.value for one in samples if math.isfinite(one.value)}


def _figures(
    session: Session,
    job: Job,
    scale: GroupScale | None,
    deployment: Deployment | None,
    known: _Known,
    *,
    scaled: bool,
) -> Figures:
    group: Mapping[str, Any] = (job.body.get("TaskGroups") or [{}])[0]
    scaling: Mapping[str, Any] = group.get("Scaling") or {}
    meta: Mapping[str, str] = ((group.get("Services") or [{}])[0]).get("Meta") or {}
    count, running = int(group.get("Count") or 0), scale.running if scale else 0
    minimum, maximum = int(scaling.get("Min") or count), int(scaling.get("Max") or count)
    cpu, memory = (known.figures.get(name, {}).get(job.id) for name in ("cpu", "memory"))
    if cpu is None or memory is None:
        stats = _stats(session, job)
        cpu, memory = used_percent("cpu", job, stats), used_percent("memory", job, stats)
    return Figures(
        service=job.id,
        running=running,
        desired=count,
        minimum=minimum,
        maximum=maximum,
        cpu=cpu,
        memory=memory,
        requests=known.figures.get("requests", {}).get(job.id),
        errors=known.figures.get("errors", {}).get(job.id),
        p99=known.figures.get("p99", {}).get(job.id),
        trend=known.trends.get(job.id, ()),
        release=meta.get("release", ""),
        scaling=_scaling_word(scaling, deployment, count, maximum, scaled=scaled),
    )


def _scaling_word(
    scaling: Mapping[str, Any], deployment: Deployment | None, count: int, maximum: int, *, scaled: bool
) -> str:
    words = {
        "rollout": deployment is not None and not deployment.done,
        "held": held_until(scaling, datetime.now(UTC)) is not None,
        "no autoscaler": not scaled,
        "at maximum": count >= maximum > int(scaling.get("Min") or count),
    }
    return next((word for word, holds in words.items() if holds), "auto")


def _stats(session: Session, job: Job) -> list[AllocationStats]:
    running = [one.id for one in session.nomad.job_allocations(job.id).value if one.client_status == "running"]
    try:
        return side_by_side(session.nomad.allocation_stats, running)
    except ServerError:
        return []
