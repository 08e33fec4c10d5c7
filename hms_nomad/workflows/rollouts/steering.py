"""What the commands that steer a rollout have in common: they need no file, and driving is shared by all of them."""

from __future__ import annotations

import time
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.progress import Report
from hms_nomad.rollout.cluster import Cluster, Memory
from hms_nomad.rollout.drive import End, Ending, Reached, drive, never
from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.policy import patience
from hms_nomad.rollout.records import NoSuchReleaseError
from hms_nomad.rollout.release import Release, ReleaseOutcome
from hms_nomad.workflows.platform.gateway import open_routes
from hms_nomad.workflows.session import Session


class Steered(StrEnum):
    """What a steering command came to."""

    NOTHING = "nothing"
    NOTED = "noted"
    REACHED = "reached"
    SUCCEEDED = "succeeded"
    TAKEN_BACK = "taken-back"
    STUCK = "stuck"


class SteerOptions(Struct, frozen=True):
    """``timeout`` bounds the command in seconds (None: the rollout's own times); ``detach`` only leaves word."""

    timeout: float | None = None
    detach: bool = False


class SteerOutcome(Struct, frozen=True):
    """What was done. ``rollout`` is None when none was under way; ``reason`` says more, ``hint`` what to run next.

    ``release`` is the record of a rollout that had ended before. ``warnings`` are about routes to the outside.
    """

    service: str
    status: Steered
    rollout: Rollout | None = None
    reason: str = ""
    failure: Failure | None = None
    hint: str = ""
    release: Release | None = None
    warnings: tuple[str, ...] = ()


def with_routes(session: Session, outcome: SteerOutcome, report: Report) -> SteerOutcome:
    """The outcome, after the public routes of a release that has replaced the old one are live.

    What is still missing some seconds later is a warning, as is a server that does not let it be asked.
    """
    if outcome.status is not Steered.SUCCEEDED or outcome.rollout is None:
        return outcome
    return replace(outcome, warnings=open_routes(session, outcome.service, report))


def nothing(service: str) -> SteerOutcome:
    """There is no rollout to steer."""
    return SteerOutcome(service, Steered.NOTHING, reason=f"no rollout of {service} is under way")


def ended(cluster: Cluster, number: int) -> SteerOutcome:
    """How rollout ``number`` ended, by its record. Raises NoSuchReleaseError where none is remembered."""
    release = cluster.store.release(number)
    if release is None:
        raise NoSuchReleaseError(f"no deploy {number} of {cluster.service} is remembered; see its history")
    if release.outcome is ReleaseOutcome.RUNNING:
        return nothing(cluster.service)
    good = release.outcome is ReleaseOutcome.SUCCEEDED
    status = Steered.SUCCEEDED if good else Steered.TAKEN_BACK
    failure = None if good else _evidence(cluster, release)
    return SteerOutcome(cluster.service, status, reason=release.reason, failure=failure, release=release)


def go_on(cluster: Cluster, rollout: Rollout, options: SteerOptions, reached: Reached = never) -> SteerOutcome:
    """Drive a rollout that was steered, unless the command is only to leave word.

    Others may drive it at the same time. Raises DeadlineExceededError and the errors of
    ``hms_nomad.clients.errors``; traffic then stays as it is.
    """
    name = cluster.service
    if options.detach:
        return SteerOutcome(name, Steered.NOTED, rollout, hint=f"hms-nomad watch {name}")
    deadline = time.monotonic() + (options.timeout or patience(rollout.policy))
    return concluding(cluster, rollout, drive(cluster, rollout.number, Memory(), deadline, reached))


def concluding(cluster: Cluster, rollout: Rollout, ending: Ending) -> SteerOutcome:
    """What driving a rollout, or watching it, came to.

    The evidence of a failure that another process saw is collected anew: what its instances wrote outlives them for a
    while.
    """
    name = cluster.service
    if ending.end is End.REACHED:
        return SteerOutcome(name, Steered.REACHED, rollout, ending.reason, hint=f"hms-nomad watch {name}")
    if ending.end is End.HANDED_BACK:
        return SteerOutcome(name, Steered.STUCK, rollout, ending.reason, hint=f"hms-nomad abort {name}")
    status = Steered.SUCCEEDED if ending.end is End.SUCCEEDED else Steered.TAKEN_BACK
    failure = ending.failure
    if status is Steered.TAKEN_BACK and failure is None and ending.release is not None:
        failure = _evidence(cluster, ending.release)
    return SteerOutcome(name, status, rollout, ending.reason, failure)


def _evidence(cluster: Cluster, release: Release) -> Failure | None:
    if release.job_version is None:
        return None
    return explain_failure(cluster.nomad, cluster.consul, cluster.service, release.job_version, release.reason)
