"""``deploy`` of a spec of ``kind: job``: it is registered, and without a schedule followed to its end."""

from __future__ import annotations

import time

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import finished_evaluation
from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.run_journal import planned_facts
from hms_nomad.apply.write import register
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad_types import Allocation, Registration
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, Plan
from hms_nomad.plan.diff import make_plan, with_attempt
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.begin import UnrollableChangeError, record
from hms_nomad.rollout.closing import close_release
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.policy import Policy, policy_of
from hms_nomad.rollout.release import ReleaseOutcome
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.deploying.guard import guarded, intent
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.deploying.service_secrets import with_secrets, write_secrets
from hms_nomad.workflows.deploying.shared_entries import write_shared
from hms_nomad.workflows.observe import observe, read_mesh_around
from hms_nomad.workflows.operating.job_runs import Run, last_run
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.session import Session, evidenced

_PATIENCE_SECONDS = 600.0
_WAIT_SECONDS = 30.0
_NO_STRATEGY = "none"


def deploy_job(session: Session, spec: Spec, options: DeployOptions, report: Report) -> DeployOutcome:
    """Bring a job to Nomad; the second time with the same spec nothing happens, unless its last run failed.

    With a schedule Nomad starts it from now on; without one it runs now, and the deploy ends with it. Raises
    UnrollableChangeError for options of a rollout, ForeignObjectError, LockedError, ConflictError,
    DeadlineExceededError while it still runs, and the errors of ``hms_nomad.clients.errors``.
    """
    refuse_traffic(spec.name, options)
    desired = evidenced(compile_spec(spec, session.platform, session.pins), session)
    return bring_job(session, desired, replace(policy_of(spec), strategy=_NO_STRATEGY), options, report)


def refuse_traffic(name: str, options: DeployOptions) -> None:
    """Raise UnrollableChangeError for options of a rollout."""
    if options.strategy or options.until_healthy or options.in_cluster:
        raise UnrollableChangeError(f"{name} is a job: it has no traffic that could move step by step")


def bring_job(
    session: Session, desired: Desired, policy: Policy, options: DeployOptions, report: Report, command: str = "deploy"
) -> DeployOutcome:
    """The same for a job that is compiled already; ``policy`` only stands in its record. Raises as ``deploy_job``."""
    deadline = time.monotonic() + (options.timeout or _PATIENCE_SECONDS)
    # The lock is not held while the job runs: whoever wants to stop it need not wait for its end.
    with guarded(session, desired.service, intent(command, desired, options, deadline), report) as run:
        begun = run.concluded(_begin(session, desired, policy, options, run.report))
    if isinstance(begun, DeployOutcome):
        return begun
    cluster = Cluster(session.nomad, session.consul, desired.service, session.platform.namespace, report)
    evaluation = finished_evaluation(session.nomad, begun.registration.eval_id, deadline)
    if evaluation.failed:
        reasons = "; ".join(f"{group}: {failure.reason()}" for group, failure in evaluation.failed.items())
        return _failed(session, cluster, desired, begun, f"no node can take it ({reasons})")
    ended = _await_end(session, desired, deadline, report)
    if ended.client_status != "complete":
        return _failed(session, cluster, desired, begun, f"its run {ended.client_status}")
    close_release(cluster, begun.number, ReleaseOutcome.SUCCEEDED, "")
    return _outcome(desired, begun.plan, Status.DEPLOYED, number=begun.number)


class _Begun(Struct, frozen=True):
    """A job without a schedule that has been registered, and whose run is to be followed."""

    plan: Plan
    registration: Registration
    number: int


def _begin(
    session: Session, desired: Desired, policy: Policy, options: DeployOptions, report: Report
) -> DeployOutcome | _Begun:
    """Write what differs; the outcome where nothing has to be followed, else what has been registered."""
    cluster = Cluster(session.nomad, session.consul, desired.service, session.platform.namespace, report)
    plan, observed = _plan(session, desired)
    if options.guard is not None:
        options.guard(plan)
    report(Event("plan", f"{len(plan.effective)} objects to change", planned_facts(plan)))
    periodic = _is_periodic(desired)
    again = not periodic and plan.empty and (options.force or last_run(session, observed) is Run.FAILED)
    if plan.empty and not again:
        return _outcome(desired, plan, Status.UNCHANGED)
    who = options.author or author()
    number = cluster.store.add(record(desired, policy, who, cluster.wall_clock(), plan.release_before)).number
    write_secrets(session, desired, plan, report)
    # The right to call what it uses, where others write, too.
    plan = write_shared(session, plan, lambda: _plan(session, desired)[0], report)
    change = next(one for one in plan.changes if one.kind == "job")
    if change.action is Action.KEEP and not again:
        _note_version(cluster, number)
        close_release(cluster, number, ReleaseOutcome.SUCCEEDED, "")
        return _outcome(desired, plan, Status.DEPLOYED, number=number)
    change = with_attempt(change, observed.job) if again else change
    registration = register(change, session.nomad, session.consul, report)
    _note_version(cluster, number)
    if periodic:
        close_release(cluster, number, ReleaseOutcome.SUCCEEDED, "")
        return _outcome(desired, plan, Status.DEPLOYED, number=number)
    if options.detach:
        return _outcome(desired, plan, Status.DETACHED, number=number)
    return _Begun(plan, registration, number)


def _note_version(cluster: Cluster, number: int) -> None:
    """Keep in the record which of Nomad's versions is the job."""
    job = cluster.nomad.read_job(cluster.service)
    if job is not None:
        cluster.store.amend(number, lambda release: replace(release, job_version=job.version))


def _is_periodic(desired: Desired) -> bool:
    return bool(desired.job.get("Periodic"))


def _plan(session: Session, desired: Desired) -> tuple[Plan, Observed]:
    observed = observe(session.nomad, desired.service, read_mesh_around(session.consul, desired.service))
    return with_secrets(session, desired, make_plan(desired, observed)), observed


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


def _failed(session: Session, cluster: Cluster, desired: Desired, begun: _Begun, reason: str) -> DeployOutcome:
    job = session.nomad.read_job(desired.service)
    failure = explain_failure(
        session.nomad, session.consul, desired.service, job.version if job is not None else None, reason
    )
    close_release(cluster, begun.number, ReleaseOutcome.FAILED, reason)
    return _outcome(desired, begun.plan, Status.FAILED, number=begun.number, failure=failure)


def _outcome(
    desired: Desired, plan: Plan, status: Status, *, number: int | None = None, failure: Failure | None = None
) -> DeployOutcome:
    periodic = _is_periodic(desired)
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
        number=number,
        hint=f"hms-nomad logs {desired.service}" if periodic else "",
        kind="periodic" if periodic else "job",
    )
