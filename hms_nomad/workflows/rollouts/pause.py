"""``pause`` and ``resume``: a rollout stays at its step, and goes on again."""

from __future__ import annotations

from hms_nomad.apply.progress import Report
from hms_nomad.rollout.steer import pause_rollout, resume_rollout
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.rollouts.rollout_job import hand_over, require_rollouts
from hms_nomad.workflows.rollouts.steering import Steered, SteerOptions, SteerOutcome, go_on, nothing, with_routes
from hms_nomad.workflows.session import Session


def pause(session: Session, name: str, report: Report) -> SteerOutcome:
    """Let a rollout enter no further step; it is judged all the same. Without a rollout nothing happens.

    Raises JournalError and the errors of ``hms_nomad.clients.errors``.
    """
    with guarded(session, name, Intent("pause", beside=True), report) as run:
        rollout = pause_rollout(cluster_of(session, name, run.report))
        if rollout is None:
            return run.concluded(nothing(name))
        return run.concluded(SteerOutcome(name, Steered.NOTED, rollout, hint=f"hms-nomad resume {name}"))


def resume(
    session: Session, name: str, options: SteerOptions, report: Report, *, in_cluster: bool = False
) -> SteerOutcome:
    """Let a paused rollout go on and bring it to its end, also one whose process died. Without one nothing happens.

    With ``in_cluster`` the cluster's own job brings it to its end. Raises PlatformError where there is no such job,
    JournalError, DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``.
    """
    if in_cluster:
        require_rollouts(session)
    with guarded(session, name, Intent("resume", beside=True), report) as run:
        cluster = cluster_of(session, name, run.report)
        rollout = resume_rollout(cluster)
        if rollout is None:
            return run.concluded(nothing(name))
        if in_cluster:
            hand_over(session, name, rollout.number, run.report)
            return run.concluded(SteerOutcome(name, Steered.NOTED, rollout, hint=f"hms-nomad watch {name}"))
        return run.concluded(with_routes(session, go_on(cluster, rollout, options), run.report))
