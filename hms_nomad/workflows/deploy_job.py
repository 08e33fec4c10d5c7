"""``deploy`` of a spec of ``kind: job``: it is registered, and without a schedule followed to its end."""

from __future__ import annotations

import time

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import finished_evaluation
from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.run_journal import planned_facts
from hms_nomad.apply.write import register, write_entries
from hms_nomad.clients.errors import ConflictError, DeadlineExceededError
from hms_nomad.clients.nomad_types import Allocation, Registration
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, Plan
from hms_nomad.plan.diff import make_plan, with_attempt
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.begin import UnrollableChangeError
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.guard import guarded, intent
from hms_nomad.workflows.observe import observe, read_mesh
from hms_nomad.workflows.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.session import Session

_PATIENCE_SECONDS = 600.0
_WAIT_SECONDS = 30.0
_TRIES = 5


def deploy_job(session: Session, spec: Spec, options: DeployOptions, report: Report) -> DeployOutcome:
    """Bring a job to Nomad; the second time with the same spec nothing happens, unless its last run failed.

    With a schedule Nomad starts it from now on; without one it runs now, and the deploy ends with it. Raises
    UnrollableChangeError for options of a rollout, ForeignObjectError, LockedError, ConflictError,
    DeadlineExceededError while it still runs, and the errors of ``hms_nomad.clients.errors``.
    """
    if options.strategy or options.until_healthy:
        raise UnrollableChangeError(f"{spec.name} is a job: it has no traffic that could move step by step")
    deadline = time.monotonic() + (options.timeout or _PATIENCE_SECONDS)
    desired = compile_spec(spec, session.platform)
    # The lock is not held while the job runs: whoever wants to stop it need not wait for its end.
    with guarded(session, desired.service, intent("deploy", desired, options, deadline), report) as run:
        begun = run.concluded(_begin(session, spec, desired, options, run.report))
    if isinstance(begun, DeployOutcome):
        return begun
    plan, registration = begun
    evaluation = finished_evaluation(session.nomad, registration.eval_id, deadline)
    if evaluation.failed:
        reasons = "; ".join(f"{group}: {failure.reason()}" for group, failure in evaluation.failed.items())
        return _failed(session, desired, plan, f"no node can take it ({reasons})")
    ended = _await_end(session, desired, deadline, report)
    if ended.client_status != "complete":
        return _failed(session, desired, plan, f"its run {ended.client_status}")
    return _outcome(desired, plan, Status.DEPLOYED, periodic=False)


def _begin(
    session: Session, spec: Spec, desired: Desired, options: DeployOptions, report: Report
) -> DeployOutcome | tuple[Plan, Registration]:
    """Write what differs; the outcome where nothing has to be followed, else what has been registered."""
    plan, observed = _plan(session, desired)
    if options.guard is not None:
        options.guard(plan)
    report(Event("plan", f"{len(plan.effective)} objects to change", planned_facts(plan)))
    periodic = spec.schedule is not None
    again = not periodic and plan.empty and (options.force or _failed_last(session, desired, observed))
    if plan.empty and not again:
        return _outcome(desired, plan, Status.UNCHANGED, periodic=periodic)
    plan = _write_entries(session, desired, plan, report)
    change = next(one for one in plan.changes if one.kind == "job")
    if change.action is Action.KEEP and not again:
        return _outcome(desired, plan, Status.DEPLOYED, periodic=periodic)
    registration = register(with_attempt(change, observed.job) if again else change, session.nomad, report)
    if periodic or options.detach:
        return _outcome(desired, plan, Status.DEPLOYED if periodic else Status.DETACHED, periodic=periodic)
    return plan, registration


def _plan(session: Session, desired: Desired) -> tuple[Plan, Observed]:
    observed = observe(session.nomad, desired.service, read_mesh(session.consul))
    return make_plan(desired, observed), observed


def _write_entries(session: Session, desired: Desired, plan: Plan, report: Report) -> Plan:
    """Write the right to call what the job uses; others write there too, so a lost race means to plan again."""
    for remaining in reversed(range(_TRIES)):
        try:
            write_entries(plan.changes, session.consul, report)
        except ConflictError as conflict:
            if remaining == 0 or INTENTIONS not in conflict.operation:
                raise
            plan, _ = _plan(session, desired)
        else:
            break
    return plan


def _failed_last(session: Session, desired: Desired, observed: Observed) -> bool:
    if observed.job is None or observed.job.stopped:
        return False
    found = session.nomad.job_allocations(desired.service).value
    own = [one for one in found if one.job_version == observed.job.version]
    return bool(own) and all(one.done and one.client_status != "complete" for one in own)


def _await_end(session: Session, desired: Desired, deadline: float, report: Report) -> Allocation:
    """The run of the latest version, once it has ended."""
    index, told = 0, ""
    job = session.nomad.read_job(desired.service)
    version = job.version if job is not None else 0
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError(
                f"{desired.service} still runs, and goes on without this command; follow it with: hms-nomad logs "
                f"{desired.service} --follow"
            )
        answer = session.nomad.job_allocations(desired.service, index=index, wait=min(remaining, _WAIT_SECONDS))
        index = answer.index
        own = [one for one in answer.value if one.job_version == version]
        if own:
            last = max(own, key=lambda one: one.create_index)
            if last.done:
                return last
            if last.client_status != told:
                told = last.client_status
                report(Event("job", f"its run is {told}", {"allocation": last.id}))


def _failed(session: Session, desired: Desired, plan: Plan, reason: str) -> DeployOutcome:
    job = session.nomad.read_job(desired.service)
    failure = explain_failure(
        session.nomad, session.consul, desired.service, job.version if job is not None else None, reason
    )
    return _outcome(desired, plan, Status.FAILED, periodic=False, failure=failure)


def _outcome(
    desired: Desired, plan: Plan, status: Status, *, periodic: bool, failure: Failure | None = None
) -> DeployOutcome:
    return DeployOutcome(
        service=desired.service,
        status=status,
        changed=status is not Status.UNCHANGED,
        version=desired.registry.version,
        release=desired.release,
        url="",
        instances=0,
        scaling={},
        plan=plan,
        failure=failure,
        hint=f"hms-nomad logs {desired.service}" if periodic else "",
        kind="periodic" if periodic else "job",
    )
