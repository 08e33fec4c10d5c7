"""The job that drives rollouts in the cluster: tried out when it is installed, and handed rollouts, one an instance."""

from __future__ import annotations

import time
import uuid

from msgspec import Struct

from hms_nomad.apply.failure import Failure, explain_failure
from hms_nomad.apply.follow import finished_evaluation
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad_types import Dispatch, Job
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.platform_job import CompiledPlatformJob
from hms_nomad.compile.rollout_job import DIGEST_KEY, ROLLOUT_META, SERVICE_META
from hms_nomad.platform.model import PlatformError
from hms_nomad.workflows.session import Session

ROLLOUTS = "rollouts"
"""The job's kind, as `platform install` names it, and its section in a context."""

_WAIT_SECONDS = 5.0
_INSTALL = "hms-nomad platform install rollouts"


class Driver(Struct, frozen=True):
    """An instance of the job that has not ended: its id in Nomad, and the rollout that it drives."""

    job_id: str
    service: str
    number: int


def require_rollouts(session: Session) -> str:
    """The name of the job, where it takes rollouts. Raises PlatformError, and ``hms_nomad.clients.errors``."""
    section = session.platform.rollouts
    if section is None:
        raise PlatformError(f"the platform {session.platform.name} drives no rollouts: its context says rollouts: null")
    job = session.nomad.read_job(section.name)
    if job is None or job.stop or not job.body.get("ParameterizedJob") or job.meta.get(OWNER_KEY) != OWNER:
        raise PlatformError(
            f"nothing in the cluster drives rollouts in {session.platform.namespace}; first: {_INSTALL}"
        )
    return section.name


def hand_over(session: Session, service: str, number: int, report: Report) -> str:
    """Let the cluster drive a rollout that is in the journal; answers the id of the instance's job.

    Where one drives it already, nothing is started. What an instance is told is a name and a number; all else it reads
    from the journal. Raises PlatformError and ``hms_nomad.clients.errors``.
    """
    name = require_rollouts(session)
    for driver in drivers(session, name):
        if (driver.service, driver.number) == (service, number):
            return driver.job_id
    return _dispatch(session, name, service, number, report).job_id


def drivers(session: Session, name: str) -> tuple[Driver, ...]:
    """The instances that have not ended. Raises ``hms_nomad.clients.errors``."""
    found = session.nomad.list_jobs(prefix=f"{name}/dispatch-")
    return tuple(
        Driver(job.id, job.meta.get(SERVICE_META, ""), int(job.meta.get(ROLLOUT_META) or 0))
        for job in found
        if job.status != "dead" and not job.stop
    )


def runs_so(job: Job, compiled: CompiledPlatformJob) -> bool:
    """Whether a stored job is the compiled one."""
    return not job.stop and job.meta.get(DIGEST_KEY) == compiled.digest


def try_out(session: Session, compiled: CompiledPlatformJob, deadline: float, report: Report) -> Failure | None:
    """Run one instance without a rollout: it must start, reach both servers and end well; else answers why not.

    Raises DeadlineExceededError and ``hms_nomad.clients.errors``.
    """
    started = _dispatch(session, compiled.name, compiled.name, 0, report)
    reason = _trouble_of(session, started, deadline)
    if reason:
        failure = explain_failure(session.nomad, session.consul, started.job_id, None, reason)
        session.nomad.stop_job(started.job_id)
        return failure
    report(Event("deployment", "a trial instance reached Nomad and Consul", {"allocation": started.job_id}))
    return None


def _dispatch(session: Session, name: str, service: str, number: int, report: Report) -> Dispatch:
    meta = {SERVICE_META: service, ROLLOUT_META: str(number)}
    started = session.nomad.dispatch_job(name, meta, idempotency_token=uuid.uuid4().hex)
    report(Event("apply", f"job {started.job_id} started", {"kind": "job", "name": started.job_id, **meta}))
    return started


def _trouble_of(session: Session, started: Dispatch, deadline: float) -> str:
    """What kept a trial instance from ending well; "" when nothing did. One that crashed is started no second time."""
    evaluation = finished_evaluation(session.nomad, started.eval_id, deadline)
    if evaluation.failed:
        reasons = "; ".join(failure.reason() for failure in evaluation.failed.values())
        return f"no node can take an instance ({reasons})"
    index = 0
    while True:
        answer = session.nomad.job_allocations(started.job_id, index=index, wait=_WAIT_SECONDS)
        index = answer.index
        for one in answer.value:
            if one.client_status == "failed" or any(task.restarts or task.failed for task in one.tasks.values()):
                return "its trial instance failed"
            if one.done:
                return ""
        if time.monotonic() > deadline:
            raise DeadlineExceededError(f"the trial instance has not ended; see: hms-nomad logs {started.job_id}")
