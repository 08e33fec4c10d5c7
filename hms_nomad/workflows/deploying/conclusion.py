"""How a deploy ended: what is said of it, and its outcome."""

from __future__ import annotations

from typing import Any

from hms_nomad.apply.failure import Failure
from hms_nomad.apply.follow import Verdict
from hms_nomad.apply.progress import Event, Report
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Plan
from hms_nomad.workflows.deploying.outcome import DeployOutcome, Status
from hms_nomad.workflows.session import Session


def report_success(desired: Desired, report: Report) -> None:
    """Tell that the image is there, the service is registered, and its scaler set (chapter 12, section 3.2)."""
    config = _task(desired).get("Config") or {}
    image, command = config.get("image"), config.get("command")
    what = f"Image {image} pulled" if image else f"Command {command} started"
    report(Event("image", what, {"image": image, "command": [command, *(config.get("args") or ())] if command else []}))
    report(Event("registered", "Registered in service mesh", {"service": desired.service}))
    scale = bounds(desired)
    report(Event("scaling", f"Auto-scaler set ({scale['min']}-{scale['max']})", scale))


def outcome_of(
    session: Session,
    desired: Desired,
    plan: Plan,
    status: Status,
    *,
    changed: bool,
    verdict: Verdict | None = None,
    failure: Failure | None = None,
    number: int | None = None,
    instances: int | None = None,
) -> DeployOutcome:
    """The outcome of a deploy to ``desired``; ``instances`` is how many are healthy where that is known."""
    if instances is None:
        instances = len(session.consul.instances(desired.service, passing=True, connect=True).value)
    return DeployOutcome(
        service=desired.service,
        status=status,
        changed=changed,
        version=desired.registry.version,
        release=desired.release,
        url=desired.registry.url,
        instances=instances,
        scaling=bounds(desired),
        plan=plan,
        failure=failure,
        deployment=verdict.deployment.id if verdict and verdict.deployment else None,
        number=number,
    )


def _task(desired: Desired) -> dict[str, Any]:
    task: dict[str, Any] = desired.job["TaskGroups"][0]["Tasks"][0]
    return task


def bounds(desired: Desired) -> dict[str, int]:
    """The fewest and the most instances of a service."""
    scaling = desired.job["TaskGroups"][0]["Scaling"]
    return {"min": int(scaling["Min"]), "max": int(scaling["Max"])}
