"""``watch``: a rollout that others drive, as it happens; nothing is written."""

from __future__ import annotations

import time

from hms_nomad.apply.progress import Report
from hms_nomad.rollout.drive import End
from hms_nomad.rollout.drive import watch as follow
from hms_nomad.workflows.converge import cluster_of
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.steering import Steered, SteerOutcome, nothing


def watch(session: Session, name: str, report: Report, timeout: float | None = None) -> SteerOutcome:
    """Follow a rollout to its end, for ``timeout`` seconds at most. Without a rollout there is nothing to see.

    Raises JournalError, DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``.
    """
    cluster = cluster_of(session, name, report)
    rollout = cluster.store.journal().rollout
    if rollout is None:
        return nothing(name)
    ending = follow(cluster, rollout.number, None if timeout is None else time.monotonic() + timeout)
    status = Steered.SUCCEEDED if ending.end is End.SUCCEEDED else Steered.TAKEN_BACK
    return SteerOutcome(name, status, rollout, ending.reason, ending.failure)
