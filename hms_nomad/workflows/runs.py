"""A job of ``kind: job`` -> its runs: a job with a schedule runs as jobs of its own, NAME/periodic-SECONDS."""

from __future__ import annotations

from hms_nomad.clients.nomad_types import Job, JobSummary
from hms_nomad.workflows.session import Session

_CHILD = "/periodic-"


def is_periodic(job: Job) -> bool:
    """Whether Nomad starts a stored job by a schedule."""
    return bool(job.body.get("Periodic"))


def runs(session: Session, name: str) -> tuple[JobSummary, ...]:
    """The runs of a job with a schedule that Nomad still knows, the latest first."""
    found = session.nomad.list_jobs(prefix=name + _CHILD)
    return tuple(sorted(found, key=lambda job: job.id, reverse=True))


def latest_run(session: Session, job: Job) -> str | None:
    """The id of the job whose instances are meant: the job's own, or its latest run; None when it has not run yet."""
    return next((run.id for run in runs(session, job.id)), None) if is_periodic(job) else job.id
