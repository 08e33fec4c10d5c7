"""A job -> its runs, which are jobs of their own.

They are NAME/periodic-SECONDS of one with a schedule, NAME/dispatch-SECONDS-ID of one that is started with parameters.
"""

from __future__ import annotations

from hms_nomad.clients.nomad_types import Job, JobSummary
from hms_nomad.workflows.session import Session

_PERIODIC = "/periodic-"
_DISPATCHED = "/dispatch-"


def is_periodic(job: Job) -> bool:
    """Whether Nomad starts a stored job by a schedule."""
    return bool(job.body.get("Periodic"))


def runs(session: Session, name: str) -> tuple[JobSummary, ...]:
    """The runs of a job with a schedule that Nomad still knows, the latest first."""
    return _children(session, name + _PERIODIC)


def latest_run(session: Session, job: Job) -> str | None:
    """The id of the job whose instances are meant: the job's own, or its latest run; None when it has not run yet."""
    if is_periodic(job):
        return next((run.id for run in runs(session, job.id)), None)
    if job.body.get("ParameterizedJob"):
        return next((run.id for run in _children(session, job.id + _DISPATCHED)), None)
    return job.id


def _children(session: Session, prefix: str) -> tuple[JobSummary, ...]:
    return tuple(sorted(session.nomad.list_jobs(prefix=prefix), key=lambda job: job.id, reverse=True))
