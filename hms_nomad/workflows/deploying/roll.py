"""A new release of a running service -> its rollout: begun by who deploys, driven here or by the cluster's own job."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.apply.failure import Failure
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Plan
from hms_nomad.rollout.cluster import Cluster, Memory
from hms_nomad.rollout.drive import End, canary_healthy, drive, never, registered
from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.look import present_weight
from hms_nomad.rollout.steer import pause_rollout
from hms_nomad.workflows.deploying.conclusion import outcome_of, report_success
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.rollouts.rollout_job import hand_over
from hms_nomad.workflows.session import Session


def roll(
    cluster: Cluster,
    session: Session,
    desired: Desired,
    plan: Plan,
    rollout: Rollout,
    options: DeployOptions,
    deadline: float,
) -> DeployOutcome:
    """Drive a rollout that was begun, as far as ``options`` want it from here; ``deadline`` is a value of
    ``time.monotonic()``. Raises as ``deploy``.
    """
    if options.until_healthy and not present_weight(cluster, rollout):
        # Before anybody drives it, so that no weight is set if this process dies, or another one is faster.
        pause_rollout(cluster, rollout.number)
    reached = canary_healthy if options.until_healthy else registered if options.detach or options.in_cluster else never
    ending = drive(cluster, rollout.number, Memory(job=desired), deadline, reached)
    name = desired.service
    if ending.end is End.SUCCEEDED:
        report_success(desired, cluster.report)
        return outcome_of(session, desired, plan, Status.DEPLOYED, changed=True, number=rollout.number)
    if ending.end is End.REACHED:
        driver = hand_over(session, name, rollout.number, cluster.report) if options.in_cluster else ""
        waiting = options.until_healthy and not present_weight(cluster, rollout)
        status = Status.WAITING if waiting else Status.DETACHED
        word = "promote" if waiting else "watch" if driver else "resume"
        which = f" --rollout {rollout.number}" if word == "watch" else ""
        ended = outcome_of(session, desired, plan, status, changed=True, number=rollout.number)
        return replace(ended, hint=f"hms-nomad {word} {name}{which}", driver=driver)
    failure = ending.failure or Failure(ending.reason, None, None, (), (), ())
    return outcome_of(session, desired, plan, Status.FAILED, changed=True, failure=failure, number=rollout.number)
