"""``promote``: the next step at once, or all the traffic."""

from __future__ import annotations

from hms_nomad.apply.progress import Report
from hms_nomad.rollout.drive import never, step_entered
from hms_nomad.rollout.look import present_weight
from hms_nomad.rollout.steer import promote_rollout
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.rollouts.steering import SteerOptions, SteerOutcome, go_on, nothing, with_routes
from hms_nomad.workflows.session import Session


def promote(session: Session, name: str, options: SteerOptions, report: Report, *, full: bool = False) -> SteerOutcome:
    """Let a rollout enter its next step without waiting, and answer when every caller's proxy has its weight.

    With ``full`` it takes all the traffic at once and is brought to its end. Without a rollout nothing happens. Raises
    JournalError, DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``.
    """
    with guarded(session, name, Intent("promote", beside=True), report) as run:
        cluster = cluster_of(session, name, run.report)
        before = cluster.store.journal().rollout
        weight = present_weight(cluster, before) if before is not None else None
        rollout = promote_rollout(cluster, weight, full)
        if rollout is None:
            return run.concluded(nothing(name))
        outcome = go_on(cluster, rollout, options, never if full else step_entered(rollout.go))
        return run.concluded(with_routes(session, outcome, run.report))
