"""``rollback``: an earlier release again, whole: its job, routes and intentions, by the same steps as a deploy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.apply.progress import Report
from hms_nomad.plan.change import Plan
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import Observed, ObservedJob
from hms_nomad.rollout.begin import RolloutRunningError
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.perform import job_again
from hms_nomad.rollout.policy import patience, with_strategy
from hms_nomad.rollout.records import NoSuchReleaseError, current_record, with_ends
from hms_nomad.rollout.release import Release, ReleaseOutcome, desired_of
from hms_nomad.workflows.deploying.converge import cluster_of, converge
from hms_nomad.workflows.deploying.deploy_job import bring_job, refuse_traffic
from hms_nomad.workflows.deploying.guard import guarded, intent
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome
from hms_nomad.workflows.deploying.service_secrets import with_secrets
from hms_nomad.workflows.rollouts.rollout_job import require_rollouts
from hms_nomad.workflows.session import Session


class RollbackPlan(Struct, frozen=True):
    """Where a rollback leads: the record, and what would change."""

    release: Release
    plan: Plan


def plan_rollback(session: Session, name: str, wanted: str | None = None) -> RollbackPlan:
    """What going back would change.

    ``wanted`` is the number, the id or the version of a release; without it the one before the running one counts.
    Raises NoSuchReleaseError, RolloutRunningError, JournalError, and the errors of ``hms_nomad.clients.errors``.
    """
    cluster = cluster_of(session, name, lambda _: None)
    release, observed = _target(cluster, wanted)
    desired = desired_of(release, _job_of(cluster, release))
    return RollbackPlan(release, with_secrets(session, desired, make_plan(desired, observed)))


def rollback(session: Session, name: str, wanted: str | None, options: DeployOptions, report: Report) -> DeployOutcome:
    """Go back to an earlier release, as one: instances, traffic, routes and intentions.

    Raises as ``plan_rollback``, and as ``hms_nomad.workflows.deploying.deploy.deploy``.
    """
    started = time.monotonic()
    cluster = cluster_of(session, name, report)
    if options.in_cluster:
        require_rollouts(session)
    release, _ = _target(cluster, wanted)
    desired = desired_of(release, _job_of(cluster, release))
    if desired.job["Type"] == "batch":
        refuse_traffic(desired.service, options)
        return bring_job(session, desired, release.policy, options, report, "rollback")
    policy = with_strategy(release.policy, options.strategy)
    deadline = started + (options.timeout or patience(policy))
    with guarded(session, name, intent("rollback", desired, options, deadline), report) as run:
        return run.concluded(converge(session, desired, policy, options, deadline, run.report))


def _target(cluster: Cluster, wanted: str | None) -> tuple[Release, Observed]:
    journal = cluster.store.journal()
    if journal.rollout is not None:
        raise RolloutRunningError(cluster.service, journal.rollout)
    observed = cluster.observe()
    releases = with_ends(cluster.store.releases(), journal, observed)
    good = [release for release in releases if release.outcome is ReleaseOutcome.SUCCEEDED]
    current = current_record(releases, observed)
    known = ", ".join(f"{found.number} ({found.version}, {found.release})" for found in good) or "none"
    if wanted is not None:
        found = next((release for release in good if _is_meant(release, wanted)), None)
        if found is None:
            raise NoSuchReleaseError(f"{cluster.service} has no release {wanted!r} to go back to; it has {known}")
        return found, observed
    before = next(
        (
            release
            for release in good
            if current is None or (release.number < current.number and release.content != current.content)
        ),
        None,
    )
    if before is None:
        raise NoSuchReleaseError(f"{cluster.service} has no earlier release to go back to; it has {known}")
    return before, observed


def _is_meant(release: Release, wanted: str) -> bool:
    return wanted.removeprefix("#") == str(release.number) or wanted in (release.release, release.version)


def _job_of(cluster: Cluster, release: Release) -> Mapping[str, Any]:
    """The job that Nomad keeps for a release; it is told from later ones by its own digest."""
    for job in cluster.nomad.job_versions(cluster.service):
        found = ObservedJob(job.body, job.version, job.modify_index, job.stop, settled=True)
        if found.service_meta.get("digest") == release.digest:
            return job_again(job.body, found.count)
    raise NoSuchReleaseError(
        f"Nomad has forgotten the job of release {release.number} ({release.version}) of {cluster.service}; deploy its "
        "file again"
    )
