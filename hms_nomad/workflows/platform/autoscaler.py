"""Session -> whether the platform's autoscaler does its work, which its own health page does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.nomad_types import Job
from hms_nomad.clients.prometheus import single
from hms_nomad.compile.names import GROUP
from hms_nomad.compile.scaling_rules import held_until
from hms_nomad.spec.duration import seconds
from hms_nomad.workflows.fleet import service_names, side_by_side
from hms_nomad.workflows.platform.telemetry import prometheus
from hms_nomad.workflows.session import Session

_WINDOW_SECONDS = 300
# It asks for the count of each service at the beginning of every evaluation.
_EVALUATIONS = "nomad_autoscaler_plugin_target_status_invoke_ms_count"


def autoscaler_trouble(session: Session) -> str:
    """Why the autoscaler scales nothing, and what to do; "" when it works, or when the platform has none.

    It is dead when Consul lists none that is healthy. One that lives and does nothing is seen by Prometheus, where the
    platform has one: no evaluation in five minutes, although there is something to evaluate. Raises the errors of
    ``hms_nomad.clients.errors``.
    """
    autoscaler = session.platform.autoscaler
    if autoscaler is None:
        return ""
    if not session.consul.instances(autoscaler.name, passing=True).value:
        return "no autoscaler runs; start it with: hms-nomad platform install autoscaler"
    if _evaluations(session, autoscaler.name) == 0 and _something_to_do(session):
        return f"the autoscaler has evaluated nothing for five minutes; see hms-nomad logs {autoscaler.name}"
    return ""


def _evaluations(session: Session, name: str) -> float | None:
    """How many evaluations there were; None where nobody counts them."""
    with prometheus(session) as metrics:
        if metrics is None:
            return None
        try:
            return single(metrics.query(f'sum(increase({_EVALUATIONS}{{service="{name}"}}[{_WINDOW_SECONDS}s]))'))
        except ServerError:
            return None


def _something_to_do(session: Session) -> bool:
    return any(_evaluated(job) for job in side_by_side(session.nomad.read_job, service_names(session)) if job)


def _evaluated(job: Job) -> bool:
    """Whether a service's policy is evaluated so often that it must have been in these five minutes."""
    group: Mapping[str, Any] = next((one for one in job.body.get("TaskGroups") or () if one["Name"] == GROUP), {})
    scaling = group.get("Scaling") or {}
    every = seconds((scaling.get("Policy") or {}).get("evaluation_interval") or "10s")
    wanted = bool(scaling) and scaling.get("Enabled", True) and every < _WINDOW_SECONDS / 2
    return wanted and held_until(scaling, datetime.now(UTC)) is None
