"""``drive``: one rollout to its end, as it stands: what the cluster's job runs."""

from __future__ import annotations

import time

from hms_nomad.apply.progress import Event, Report
from hms_nomad.rollout.cluster import Memory
from hms_nomad.rollout.drive import drive as drive_rollout
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.rollouts.steering import SteerOutcome, concluding, nothing, with_routes
from hms_nomad.workflows.session import Session


def drive(
    session: Session, name: str, report: Report, *, number: int | None = None, timeout: float | None = None
) -> SteerOutcome:
    """Bring the rollout of a service to its end without changing what anybody asked of it: a paused one stays paused.

    ``number`` asks for one rollout; where another one, or none, is under way, nothing happens. Without ``timeout`` (in
    seconds) it takes as long as it takes. Raises JournalError, DeadlineExceededError, and the errors of
    ``hms_nomad.clients.errors``; any process, this one started anew among them, goes on from there.
    """
    with guarded(session, name, Intent("drive", beside=True, lock=False), report) as run:
        cluster = cluster_of(session, name, run.report)
        rollout = cluster.store.journal().rollout
        if rollout is None or number not in (None, rollout.number):
            # Whoever is only tried out shall fail where it could not work.
            session.nomad.job_versions(name)
            return run.concluded(nothing(name))
        path = f"{name} {rollout.stable_version} -> {rollout.version}"
        run.report(Event("rollout", f"driving rollout {rollout.number}: {path}", {"number": rollout.number}))
        deadline = None if timeout is None else time.monotonic() + timeout
        outcome = concluding(cluster, rollout, drive_rollout(cluster, rollout.number, Memory(), deadline))
        return run.concluded(with_routes(session, outcome, run.report))
