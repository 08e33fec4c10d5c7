"""A deployment and its allocations -> what becomes of it: promoted, failed, or left to go on. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from hms_nomad.dev.agent.instances import asked_to_move, ended, healthy, wanted
from hms_nomad.dev.agent.values import Json, moment_of

RUNNING = "Deployment is running"
NEEDS_PROMOTION = "Deployment is running but requires manual promotion"
PROMOTES_ITSELF = "Deployment is running pending automatic promotion"
PAUSED = "Deployment is paused"
SUCCESSFUL = "Deployment completed successfully"
STOPPED_JOB = "Cancelled because job is stopped"
NEWER_JOB = "Cancelled due to newer version of job"
UNHEALTHY = "Failed due to unhealthy allocations"
NO_PROGRESS = "Failed due to progress deadline"
FAILED_BY_USER = "Deployment marked as failed"


class Verdict(Struct, frozen=True):
    """``promote``: all canaries are healthy and nobody need be asked. ``failure`` says why it failed ("": it has not).

    ``reschedule`` are instances that shall be replaced although the deployment runs; ``wake`` is when to look again.
    """

    promote: bool = False
    failure: str = ""
    reschedule: tuple[Json, ...] = ()
    wake: float | None = None


def judge(deployment: Json, allocs: Sequence[Json], now: float) -> Verdict:
    """What is to be done with a deployment that runs, at ``now`` (seconds since 1970)."""
    if deployment["Status"] != "running":
        return Verdict()
    own = [alloc for alloc in allocs if alloc["DeploymentID"] == deployment["ID"]]
    failed: list[Json] = []
    for alloc in own:
        if healthy(alloc) is not False or not wanted(alloc) or asked_to_move(alloc):
            continue
        if not deployment["TaskGroups"][alloc["TaskGroup"]]["ProgressDeadline"]:
            return Verdict(failure=UNHEALTHY)
        told = (alloc.get("DesiredTransition") or {}).get("Reschedule")
        if ended(alloc) and not told and not alloc.get("NextAllocation"):
            failed.append(alloc)
    wake = None
    for state in deployment["TaskGroups"].values():
        deadline = _deadline(state)
        if deadline is None:
            continue
        if deadline <= now:
            return Verdict(failure=NO_PROGRESS)
        wake = min(deadline, wake or deadline)
    return Verdict(promote=_promotes_itself(deployment, own), reschedule=tuple(failed), wake=wake)


def description(states: dict[str, Json]) -> str:
    """What a deployment says of itself while it runs."""
    waiting = [state for state in states.values() if state["DesiredCanaries"] and not state["Promoted"]]
    if not waiting:
        return RUNNING
    return PROMOTES_ITSELF if all(state["AutoPromote"] for state in waiting) else NEEDS_PROMOTION


def missing_canaries(deployment: Json, allocs: Sequence[Json]) -> list[str]:
    """For each group whose canaries are not all healthy, the sentence in which Nomad refuses to promote it."""
    found = []
    for name, state in deployment["TaskGroups"].items():
        if not state["DesiredCanaries"] or state["Promoted"]:
            continue
        good = _healthy_canaries(state, allocs)
        if good < state["DesiredCanaries"]:
            found.append(f'Task group "{name}" has {good}/{state["DesiredCanaries"]} healthy allocations')
    return found


def _promotes_itself(deployment: Json, allocs: Sequence[Json]) -> bool:
    waiting = [one for one in deployment["TaskGroups"].values() if one["DesiredCanaries"] and not one["Promoted"]]
    return (
        bool(waiting)
        and all(state["AutoPromote"] for state in waiting)
        and all(_healthy_canaries(state, allocs) >= state["DesiredCanaries"] for state in waiting)
    )


def _healthy_canaries(state: Json, allocs: Sequence[Json]) -> int:
    placed = set(state["PlacedCanaries"] or ())
    return sum(alloc["ID"] in placed and healthy(alloc) is True and wanted(alloc) for alloc in allocs)


def _deadline(state: Json) -> float | None:
    """When the group must have made its next step; None where nothing is awaited of it."""
    if not state["ProgressDeadline"] or not state.get("RequireProgressBy"):
        return None
    if state["DesiredCanaries"] and not state["Promoted"]:
        # Whether it goes on is up to whoever promotes it.
        if int(state["HealthyAllocs"]) >= int(state["DesiredCanaries"]):
            return None
    elif int(state["HealthyAllocs"]) >= int(state["DesiredTotal"]):
        return None
    return moment_of(state["RequireProgressBy"]) or None
