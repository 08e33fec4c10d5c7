"""What the commands that steer a rollout have in common: they need no file, and driving is shared by all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

from hms_nomad.apply.failure import Failure
from hms_nomad.rollout.cluster import Cluster, Memory
from hms_nomad.rollout.drive import End, Reached, drive, never, patience
from hms_nomad.rollout.journal import Rollout


class Steered(StrEnum):
    """What a steering command came to."""

    NOTHING = "nothing"
    NOTED = "noted"
    REACHED = "reached"
    SUCCEEDED = "succeeded"
    TAKEN_BACK = "taken-back"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class SteerOptions:
    """``timeout`` bounds the command in seconds (None: the rollout's own times); ``detach`` only leaves word."""

    timeout: float | None = None
    detach: bool = False


@dataclass(frozen=True, slots=True)
class SteerOutcome:
    """What was done. ``rollout`` is None when none was under way; ``reason`` says more, ``hint`` what to run next."""

    service: str
    status: Steered
    rollout: Rollout | None = None
    reason: str = ""
    failure: Failure | None = None
    hint: str = ""


def nothing(service: str) -> SteerOutcome:
    """There is no rollout to steer."""
    return SteerOutcome(service, Steered.NOTHING, reason=f"no rollout of {service} is under way")


def go_on(cluster: Cluster, rollout: Rollout, options: SteerOptions, reached: Reached = never) -> SteerOutcome:
    """Drive a rollout that was steered, unless the command is only to leave word.

    Others may drive it at the same time. Raises DeadlineExceededError and the errors of
    ``hms_nomad.clients.errors``; traffic then stays as it is.
    """
    name = cluster.service
    if options.detach:
        return SteerOutcome(name, Steered.NOTED, rollout, hint=f"hms-nomad watch {name}")
    deadline = time.monotonic() + (options.timeout or patience(rollout.policy))
    ending = drive(cluster, rollout.number, Memory(), deadline, reached)
    if ending.end is End.REACHED:
        return SteerOutcome(name, Steered.REACHED, rollout, ending.reason, hint=f"hms-nomad watch {name}")
    if ending.end is End.HANDED_BACK:
        return SteerOutcome(name, Steered.STUCK, rollout, ending.reason, hint=f"hms-nomad abort {name}")
    status = Steered.SUCCEEDED if ending.end is End.SUCCEEDED else Steered.TAKEN_BACK
    return SteerOutcome(name, status, rollout, ending.reason, ending.failure)
