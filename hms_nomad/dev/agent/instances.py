"""What the pure engine asks of an allocation: does it run, is it a canary, when may it be rescheduled."""

from __future__ import annotations

from collections.abc import Iterable

from hms_nomad.dev.agent.changes import group_of
from hms_nomad.dev.agent.values import DEAD_CLIENT, Json, moment_of, seconds


def name_of(job_id: str, group: str, number: int) -> str:
    """The name of an instance, such as payment.app[0]."""
    return f"{job_id}.{group}[{number}]"


def number_of(alloc: Json) -> int:
    """The number in an instance's name."""
    return int(alloc["Name"].rpartition("[")[2][:-1])


def wanted(alloc: Json) -> bool:
    """True while nobody decided that it stops."""
    return bool(alloc["DesiredStatus"] == "run")


def ended(alloc: Json) -> bool:
    """True when no task of it runs or will run again."""
    return alloc["ClientStatus"] in DEAD_CLIENT


def canary(alloc: Json) -> bool:
    """True until it is promoted."""
    return bool((alloc.get("DeploymentStatus") or {}).get("Canary"))


def healthy(alloc: Json) -> bool | None:
    """The verdict of its deployment; None while there is none."""
    verdict = (alloc.get("DeploymentStatus") or {}).get("Healthy")
    return None if verdict is None else bool(verdict)


def asked_to_move(alloc: Json) -> bool:
    """True when somebody stopped this one instance, so that another takes its place."""
    return bool((alloc.get("DesiredTransition") or {}).get("Migrate"))


def of_version(alloc: Json, job: Json) -> bool:
    """True when it is of exactly this version of this job."""
    return bool(alloc["JobVersion"] == job["Version"] and alloc["JobCreateIndex"] == job["CreateIndex"])


def failed_at(alloc: Json) -> float:
    """When its last task ended, in seconds since 1970."""
    ends = [moment_of(state.get("FinishedAt")) for state in (alloc.get("TaskStates") or {}).values()]
    return max([*ends, 0.0]) or seconds(alloc.get("ModifyTime"))


def reschedule_due(alloc: Json) -> float | None:
    """When a failed instance is to be replaced, in seconds since 1970; None when its policy forbids it."""
    group = group_of(alloc["Job"], alloc["TaskGroup"]) if alloc.get("Job") else None
    policy = (group or {}).get("ReschedulePolicy")
    if not policy:
        return None
    when = failed_at(alloc)
    before = [seconds(event["RescheduleTime"]) for event in (alloc.get("RescheduleTracker") or {}).get("Events") or ()]
    if not policy["Unlimited"]:
        recent = [moment for moment in before if moment > when - seconds(policy["Interval"])]
        if len(recent) >= policy["Attempts"]:
            return None
    return when + _delay(policy, len(before))


def _delay(policy: Json, times: int) -> float:
    first, most = seconds(policy["Delay"]), seconds(policy["MaxDelay"])
    if policy["DelayFunction"] == "exponential":
        delay = first * float(2 ** min(times, 30))
    elif policy["DelayFunction"] == "fibonacci":
        one, two = first, first
        for _ in range(times):
            one, two = two, one + two
        delay = one
    else:
        return first
    return min(delay, most) if most else delay


def free_names(job_id: str, group: str, count: int, taken: Iterable[str]) -> list[str]:
    """``count`` names that nobody has, the lowest numbers first."""
    used, number = set(taken), 0
    names: list[str] = []
    while len(names) < count:
        name = name_of(job_id, group, number)
        if name not in used:
            names.append(name)
        number += 1
    return names
