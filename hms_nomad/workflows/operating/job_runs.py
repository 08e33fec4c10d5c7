"""A job without a schedule, as observed -> how the run of its latest version goes."""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.journal import Journal
from hms_nomad.rollout.records import with_ends
from hms_nomad.rollout.release import Release, ReleaseOutcome
from hms_nomad.workflows.session import Session


class Run(StrEnum):
    """How the run is; UNKNOWN where Nomad remembers no instance, and for everything that is not a job of its own."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    UNKNOWN = "unknown"


def last_run(session: Session, observed: Observed) -> Run:
    """The run of the latest version. Raises the errors of ``hms_nomad.clients.errors``."""
    job = observed.job
    if job is None or job.stopped or job.body.get("Type") != "batch" or job.body.get("Periodic"):
        return Run.UNKNOWN
    found = session.nomad.job_allocations(str(job.body["ID"])).value
    own = [one for one in found if one.job_version == job.version]
    if any(one.client_status == "complete" for one in own):
        return Run.COMPLETE
    if not own:
        return Run.UNKNOWN
    return Run.FAILED if all(one.done for one in own) else Run.RUNNING


def job_records(session: Session, releases: tuple[Release, ...], observed: Observed) -> tuple[Release, ...]:
    """Records of deploys, newest first, with an end for each that nobody saw end, as far as a job's run tells it."""
    job = observed.job
    waiting = any(release.outcome is ReleaseOutcome.RUNNING for release in releases)
    if job is None or job.body.get("Type") != "batch" or not waiting:
        return with_ends(releases, Journal(), observed)
    run = last_run(session, observed)
    settled = replace(observed, job=replace(job, settled=run in (Run.COMPLETE, Run.UNKNOWN)))
    ended = with_ends(releases, Journal(), settled)
    if run is not Run.FAILED:
        return ended
    return tuple(
        replace(one, outcome=ReleaseOutcome.FAILED, reason="its run failed")
        if one.outcome is ReleaseOutcome.RUNNING
        else one
        for one in ended
    )
