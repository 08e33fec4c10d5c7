"""``abort``: the new release is taken back, traffic first."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.apply.progress import Report
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.journal import Author
from hms_nomad.rollout.steer import abort_rollout
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.rollouts.steering import Steered, SteerOptions, SteerOutcome, go_on, nothing
from hms_nomad.workflows.session import Session


def abort(
    session: Session, name: str, options: SteerOptions, report: Report, *, who: Author | None = None
) -> SteerOutcome:
    """Take a rollout back: traffic to the old release, then the mesh forgets the new one, then its instances stop.

    Where the old release retires already, nothing is taken back: the answer then says how to go back. Without a
    rollout nothing happens. Raises JournalError, DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``.
    """
    by = who or author()
    with guarded(session, name, Intent("abort", by.message, by.who, beside=True), report) as run:
        return run.concluded(_abort(cluster_of(session, name, run.report), options, by))


def _abort(cluster: Cluster, options: SteerOptions, by: Author) -> SteerOutcome:
    name = cluster.service
    rollout = abort_rollout(cluster, f"aborted by {by.who}{f': {by.message}' if by.message else ''}", by.who)
    if rollout is None:
        return nothing(name)
    outcome = go_on(cluster, rollout, options)
    if outcome.status is Steered.SUCCEEDED:
        late = f"{rollout.version} had replaced {rollout.stable_version} already"
        return replace(outcome, reason=late, hint=f"hms-nomad rollback {name}")
    return outcome
