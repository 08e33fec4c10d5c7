"""Desired -> servers: in place where instances stay, by a rollout where they are replaced.

In place the order is Consul's entries first, then the job: traffic can only ever be sent to a service whose rules
stand. Routes from outside are opened last.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial

from msgspec.structs import replace

from hms_nomad.apply.failure import explain_failure
from hms_nomad.apply.follow import Verdict, await_started, deployment_of, follow, follow_deployment
from hms_nomad.apply.foresee import foresee
from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.run_journal import planned_facts
from hms_nomad.apply.write import register, write_routes
from hms_nomad.clients.consul_types import Instance
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad_types import Deployment
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, Plan
from hms_nomad.plan.diff import make_plan, promoting_itself, with_attempt
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.begin import RejectedReleaseError, RolloutRunningError, begin, record, stable_release
from hms_nomad.rollout.closing import close_release, tag_release, with_end
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.journal import Author, Journal
from hms_nomad.rollout.policy import Policy
from hms_nomad.rollout.records import close_unseen
from hms_nomad.rollout.release import Release, ReleaseOutcome
from hms_nomad.workflows.deploying.conclusion import bounds, outcome_of, report_success
from hms_nomad.workflows.deploying.new_service import NOTHING_SEEN, Seen
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.deploying.service_secrets import tidy, with_secrets, write_secrets
from hms_nomad.workflows.deploying.shared_entries import write_shared
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.platform.telemetry import recorded
from hms_nomad.workflows.session import Session

_REGISTRY_WAIT_SECONDS = 5.0

_Instances = Snapshot[tuple[Instance, ...]]


def cluster_of(session: Session, service: str, report: Report) -> Cluster:
    """Where the rollouts of a service happen."""
    records = recorded(session, service)
    return Cluster(session.nomad, session.consul, service, session.platform.namespace, report, recorded=records)


def converge(
    session: Session,
    desired: Desired,
    policy: Policy,
    options: DeployOptions,
    deadline: float,
    report: Report,
    seen: Seen = NOTHING_SEEN,
) -> DeployOutcome:
    """Bring the servers to ``desired``; ``deadline`` is a value of ``time.monotonic()``. Raises as ``deploy``."""
    plan, observed = (seen.new.plan, seen.new.observed) if seen.new else _plan(session, desired)
    if options.guard is not None:
        options.guard(plan)
    outcome = _converged(session, desired, policy, plan, observed, options, deadline, report, seen)
    if outcome.status is Status.DEPLOYED:
        tidy(session, desired, observed.job, report)
    return outcome


def _converged(
    session: Session,
    desired: Desired,
    policy: Policy,
    plan: Plan,
    observed: Observed,
    options: DeployOptions,
    deadline: float,
    report: Report,
    seen: Seen,
) -> DeployOutcome:
    cluster = cluster_of(session, desired.service, report)
    kept = seen.kept or cluster.store.kept()
    journal = kept.journal
    rollout = journal.rollout
    if rollout is not None:
        if (rollout.candidate, rollout.digest) != (desired.release, desired.digest):
            raise RolloutRunningError(desired.service, rollout)
        report(Event("rollout", "going on with the rollout of this release", {"number": rollout.number}))
        write_secrets(session, desired, plan, report)
    else:
        report(Event("plan", f"{len(plan.effective)} objects to change", planned_facts(plan)))
        close_unseen(cluster, kept, observed)
        _refuse_rejected(journal, desired, options)
        # Without a job there is no release that traffic could be moved from.
        passing = _passing(session, desired.service) if observed.job is not None else Counter()
        stable = stable_release(desired, observed, passing)
        write_secrets(session, desired, plan, report)
        if stable is not None:
            who = options.author or author()
            rollout = begin(cluster, desired, policy, stable, observed, who, bool(passing[stable]))
    if rollout is not None:
        # A first deploy, and a change in place, need nothing of what drives rollouts.
        from hms_nomad.workflows.deploying.roll import roll

        return roll(cluster, session, desired, plan, rollout, options, deadline)
    if plan.empty:
        return outcome_of(session, desired, plan, Status.UNCHANGED, changed=False)
    return _in_place(cluster, session, desired, policy, plan, observed, options, deadline, seen, kept.newest)


def _refuse_rejected(journal: Journal, desired: Desired, options: DeployOptions) -> None:
    rejection = journal.rejection(desired.release)
    if rejection is not None and not options.force:
        raise RejectedReleaseError(desired.service, rejection)


def _in_place(
    cluster: Cluster,
    session: Session,
    desired: Desired,
    policy: Policy,
    plan: Plan,
    observed: Observed,
    options: DeployOptions,
    deadline: float,
    seen: Seen,
    newest: int,
) -> DeployOutcome:
    """A first deploy, or a change that replaces no instance: no traffic has to move."""
    report = cluster.report
    if not plan.effective and (running := _running_deployment(session, desired, observed)) is not None:
        report(Event("deployment", f"a deployment of this release runs already: {running.id[:8]}", {}))
        if options.detach:
            return outcome_of(session, desired, plan, Status.DETACHED, changed=False)
        verdict = follow_deployment(session.nomad, running, deadline, report, _is_decided)
        return _conclude(cluster, session, desired, plan, verdict, deadline, _End(cluster, session, desired))
    who: Author = options.author or author()
    begun = record(desired, policy, who, cluster.wall_clock(), plan.release_before)
    number = seen.begun.release.number if seen.begun else cluster.store.add(begun, newest).number
    end = _End(cluster, session, desired, number, seen)
    plan = write_shared(session, plan, lambda: _plan(session, desired)[0], report, seen.meet)
    job = next(change for change in plan.changes if change.kind == "job")
    if job.action is Action.KEEP and not plan.unfinished:
        write_routes(plan.changes, session.consul, report)
        end.close(ReleaseOutcome.SUCCEEDED, "")
        return outcome_of(session, desired, plan, Status.DEPLOYED, changed=True, number=number)
    change = promoting_itself(with_attempt(job, observed.job) if plan.unfinished else job)
    if plan.release_before is not None and change.body is not None:
        # Of the same release, and yet Nomad replaces instances where somebody edited the job by hand.
        plan = replace(plan, foresight=foresee(session.nomad, change.body))
        await_started(session.nomad, change.body, deadline)
    registration = register(change, session.nomad, session.consul, report, seen.later if options.detach else None)
    if options.detach:
        # Nobody will be there to open the way in once the service is healthy.
        write_routes(plan.changes, session.consul, report)
        healthy = None if plan.release_before else 0
        return outcome_of(session, desired, plan, Status.DETACHED, changed=True, number=number, instances=healthy)
    # Instances start meanwhile: to load now what is asked at the end costs nobody time.
    importlib.import_module("hms_nomad.workflows.platform.gateway")
    verdict = follow(session.nomad, desired.service, registration, deadline, report, _is_decided, end.beside)
    return _conclude(cluster, session, desired, plan, verdict, deadline, end)


def _is_decided(deployment: Deployment) -> bool:
    """Nomad tries unhealthy instances anew until a far deadline; one of them is enough to know."""
    return deployment.done or any(group.unhealthy for group in deployment.groups.values())


def _plan(session: Session, desired: Desired) -> tuple[Plan, Observed]:
    observed = cluster_of(session, desired.service, lambda _: None).observe()
    return with_secrets(session, desired, make_plan(desired, observed)), observed


def _passing(session: Session, service: str) -> Counter[str]:
    """Healthy instances by release, as callers see them."""
    instances = session.consul.instances(service, passing=True, connect=True).value
    return Counter(instance.meta.get("release", "") for instance in instances)


def _running_deployment(session: Session, desired: Desired, observed: Observed) -> Deployment | None:
    if observed.job is None:
        return None
    found = deployment_of(session.nomad, desired.service, observed.job.version)
    return found if found is not None and not found.done else None


def _conclude(
    cluster: Cluster,
    session: Session,
    desired: Desired,
    plan: Plan,
    verdict: Verdict,
    deadline: float,
    end: _End,
) -> DeployOutcome:
    unhealthy = sum(group.unhealthy for group in verdict.deployment.groups.values()) if verdict.deployment else 0
    if not verdict.healthy or unhealthy:
        instances = "1 instance" if unhealthy == 1 else f"{unhealthy} instances"
        reason = verdict.reason or f"{instances} did not get healthy"
        return _failed(cluster, session, desired, plan, replace(verdict, healthy=False, reason=reason), end)
    healthy = _await_registration(session, desired, deadline, end.instances)
    write_routes(plan.changes, session.consul, cluster.report)
    report_success(desired, cluster.report)
    end.close(ReleaseOutcome.SUCCEEDED, "", verdict.deployment)
    return outcome_of(
        session, desired, plan, Status.DEPLOYED, changed=True, verdict=verdict, number=end.number, instances=healthy
    )


def _await_registration(session: Session, desired: Desired, deadline: float, first: _Instances | None) -> int:
    """Nomad calls an allocation healthy by its own view; callers need Consul's. Answers how many are healthy.

    ``first`` is what Consul said just now, where it was asked.
    """
    index, wanted = 0, bounds(desired)["min"]
    while True:
        answer = first or session.consul.instances(
            desired.service, passing=True, index=index, wait=_REGISTRY_WAIT_SECONDS, connect=True
        )
        first = None
        if len(answer.value) >= wanted:
            return len(answer.value)
        if time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"Consul lists {len(answer.value)} of {wanted} instances of {desired.service} as healthy"
            )
        index = answer.index


def _failed(
    cluster: Cluster, session: Session, desired: Desired, plan: Plan, verdict: Verdict, end: _End
) -> DeployOutcome:
    version = verdict.deployment.job_version if verdict.deployment else None
    failure = explain_failure(session.nomad, session.consul, desired.service, version, verdict.reason)
    if plan.release_before is None or plan.release_before == plan.release_after:
        _give_up(cluster, session, desired, verdict)
    end.close(ReleaseOutcome.FAILED, verdict.reason, verdict.deployment)
    return outcome_of(
        session, desired, plan, Status.FAILED, changed=True, verdict=verdict, failure=failure, number=end.number
    )


def _give_up(cluster: Cluster, session: Session, desired: Desired, verdict: Verdict) -> None:
    """End a deployment that failed in our eyes; without an earlier version Nomad would try it for ever."""
    deployment = verdict.deployment
    if deployment is not None and not session.nomad.read_deployment(deployment.id).value.done:
        session.nomad.fail_deployment(deployment.id)
    if not any(version.stable for version in session.nomad.job_versions(desired.service)):
        session.nomad.stop_job(desired.service)
        cluster.report(Event("warning", f"{desired.service} stopped: it has no earlier release to go back to", {}))


class _End:
    """The end of a deploy in place: what is asked and done then, as much of it at once as does not depend on the rest.

    ``number`` is that of its record (None: it has none).
    """

    def __init__(
        self,
        cluster: Cluster,
        session: Session,
        desired: Desired,
        number: int | None = None,
        seen: Seen = NOTHING_SEEN,
    ) -> None:
        self._cluster = cluster
        self._session = session
        self._service = desired.service
        self._begun = seen.begun
        self._later = seen.later
        self._tagged: Release | None = None
        self.number = number
        self.instances: _Instances | None = None

    def beside(self, told: Deployment) -> Iterable[Callable[[], object]]:
        """What is done beside the last look at a deployment that was told to be good; see ``follow``."""
        if told.status != "successful" or any(group.unhealthy for group in told.groups.values()):
            return ()
        if self._begun is None:
            return (self._ask,)
        # Whether the lock still stands is asked before each write of this context.
        return self._ask, partial(copy_context().run, self._tag, self._begun.release, told)

    def close(self, outcome: ReleaseOutcome, reason: str, deployment: Deployment | None = None) -> None:
        """Write into the record how the deploy ended, at once or with the transaction at the end of the command."""
        if self.number is None:
            return
        close = partial(close_release, self._cluster, self.number, outcome, reason)
        good = outcome is ReleaseOutcome.SUCCEEDED
        if good and self._tagged is not None and self._begun is not None and self._later is not None:
            step = self._cluster.store.amending(self._begun, self._tagged)
            self._later(step, partial(close, self._tagged.job_version))
        elif deployment is not None:
            close(deployment.job_version)
        else:
            job = self._cluster.nomad.read_job(self._service)
            close(job.version if job is not None else None)

    def _ask(self) -> None:
        self.instances = self._session.consul.instances(self._service, passing=True, connect=True)

    def _tag(self, begun: Release, told: Deployment) -> None:
        good = with_end(begun, ReleaseOutcome.SUCCEEDED, "", self._cluster.wall_clock(), told.job_version)
        tag_release(self._cluster, good)
        self._tagged = good
