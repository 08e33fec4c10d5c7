"""``deploy``: a spec becomes a healthy service; the second time with the same spec nothing happens."""

from __future__ import annotations

import contextlib
import time

from msgspec.structs import replace

from hms_nomad.apply.progress import Report
from hms_nomad.apply.run_journal import planned_facts
from hms_nomad.clients.errors import ConflictError
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Desired
from hms_nomad.rollout.begin import record
from hms_nomad.rollout.policy import Policy, patience, policy_of
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.deploying.converge import converge
from hms_nomad.workflows.deploying.guard import Guard, guarded, intent
from hms_nomad.workflows.deploying.new_service import New, Seen, look_at_new
from hms_nomad.workflows.deploying.outcome import DeployOptions as DeployOptions  # noqa: PLC0414 - offered here too
from hms_nomad.workflows.deploying.outcome import DeployOutcome as DeployOutcome  # noqa: PLC0414
from hms_nomad.workflows.deploying.outcome import Status as Status  # noqa: PLC0414
from hms_nomad.workflows.deploying.run_record import Opening
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.session import Session, evidenced

_FIRST = 1
"""The number of the first record of a service."""


def deploy(
    session: Session, spec: Spec, options: DeployOptions, report: Report, new: New | None = None
) -> DeployOutcome:
    """Bring the servers to what the spec says and wait until it is healthy (chapter 12, sections 3.2 and 4.1).

    ``new`` is what was just read of a new service together with others; without it the service is read by itself, a new
    one before its lock is taken, any other one after that.

    A new release of a running service is rolled out: traffic moves to it only as fast as its health allows. Raises
    ForeignObjectError for objects that are not ours, LockedError while another command works on the service,
    RolloutRunningError while another rollout is under way, RejectedReleaseError for a release that was taken back,
    UnrollableChangeError, ConflictError when another writer won, DeadlineExceededError, and the errors of
    ``hms_nomad.clients.errors``. Any interruption is repaired by the same command.
    """
    # What only other specs need, and what comes after the registration, is loaded there.
    if spec.kind == "job":
        from hms_nomad.workflows.deploying.deploy_job import deploy_job

        return deploy_job(session, spec, options, report)
    if spec.kind == "external":
        from hms_nomad.workflows.deploying.external import deploy_external

        return deploy_external(session, spec, options, report)
    started = time.monotonic()
    if options.in_cluster:
        from hms_nomad.workflows.rollouts.rollout_job import require_rollouts

        require_rollouts(session)
    desired = evidenced(new.desired if new else compile_spec(spec, session.platform, session.pins), session)
    policy = policy_of(spec, options.strategy)
    deadline = started + (options.timeout or patience(policy))
    aim = intent("deploy", desired, options, deadline)

    def looking() -> Opening | None:
        nonlocal new
        new = new or look_at_new(session, desired)
        return _opening(desired, policy, options, new)

    # Who expects a certain plan compares it with one that is made under the lock.
    first = looking if new is not None or options.guard is None else None
    with guarded(session, desired.service, aim, report, looking=first) as run:
        outcome = run.concluded(_converged(session, desired, policy, options, deadline, run, new))
        if outcome.status is Status.DEPLOYED:
            from hms_nomad.workflows.platform.gateway import follow_routes

            return replace(outcome, warnings=follow_routes(session, spec, deadline, run.report))
    if outcome.status is Status.UNCHANGED:
        from hms_nomad.workflows.platform.gateway import check_routes

        return replace(outcome, warnings=check_routes(session, spec, deadline, report))
    return outcome


def _converged(
    session: Session,
    desired: Desired,
    policy: Policy,
    options: DeployOptions,
    deadline: float,
    run: Guard,
    new: New | None,
) -> DeployOutcome:
    """Where somebody was faster than this command since all services were read, the service is read by itself."""
    kept, meet = run.kept, new.meet if new is not None else None
    if new is not None and run.begun is not None:
        # A conflict is with what nobody keeps a record of, such as entries written by hand.
        with contextlib.suppress(ConflictError):
            seen = Seen(new, kept, run.begun, run.later, meet)
            return converge(session, desired, policy, options, deadline, run.report, seen)
        kept = None
    return converge(session, desired, policy, options, deadline, run.report, Seen(kept=kept, meet=meet))


def _opening(desired: Desired, policy: Policy, options: DeployOptions, new: New | None) -> Opening | None:
    if new is None:
        return None
    begun = record(desired, policy, options.author or author(), time.time(), None)
    return Opening(planned_facts(new.plan), replace(begun, number=_FIRST))
