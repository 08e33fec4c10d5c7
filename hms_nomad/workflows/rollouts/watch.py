"""``watch``: a rollout that others drive, as it happens; nothing is written."""

from __future__ import annotations

import time

from hms_nomad.apply.progress import Report
from hms_nomad.rollout.drive import watch as follow
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.rollouts.steering import SteerOutcome, concluding, ended, nothing, with_routes
from hms_nomad.workflows.session import Session


def watch(
    session: Session, name: str, report: Report, timeout: float | None = None, number: int | None = None
) -> SteerOutcome:
    """Follow a rollout to its end, for ``timeout`` seconds at most. Without a rollout there is nothing to see.

    ``number`` asks for one rollout, and for how it ended where it has. Raises NoSuchReleaseError for one that is not
    remembered, JournalError, DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``.
    """
    cluster = cluster_of(session, name, report)
    rollout = cluster.store.journal().rollout
    if rollout is None or number not in (None, rollout.number):
        return nothing(name) if number is None else ended(cluster, number)
    deadline = None if timeout is None else time.monotonic() + timeout
    outcome = concluding(cluster, rollout, follow(cluster, rollout.number, deadline))
    return with_routes(session, outcome, report)
