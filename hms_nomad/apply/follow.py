"""A registration -> its verdict: follows the evaluation and then its own deployment on the event stream.

"The latest deployment" is never the verdict: after an automatic revert that is the successful deployment of the old
version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from hms_nomad.apply.observe import at_once
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_news import News
from hms_nomad.clients.nomad_types import Allocation, Deployment, Evaluation, Registration

_EVALUATION_WAIT_SECONDS = 10.0
_START_WAIT_SECONDS = 15.0
_OLD_READS = 5
_OLD_READ_SECONDS = 1.0
# News can be lost where Nomad forgot them while its stream was broken.
_LONGEST_WITHOUT_LOOK_SECONDS = 30.0
_FINAL_EVALUATION = frozenset({"complete", "failed", "canceled"})


class Verdict(Struct, frozen=True):
    """How a registration ended, ``reason`` in words; ``deployment`` is None when nothing was to be deployed."""

    healthy: bool
    reason: str
    deployment: Deployment | None


Reached = Callable[[Deployment], bool]
"""Says of a deployment whether what the caller waits for has come."""

Beside = Callable[[Deployment], Iterable[Callable[[], object]]]
"""What is to be done once a deployment is as it was told, and depends on nothing that is read of it after that."""


def _nothing_beside(told: Deployment) -> Iterable[Callable[[], object]]:
    del told
    return ()


def follow(
    nomad: NomadClient,
    job_id: str,
    registration: Registration,
    deadline: float,
    report: Report,
    reached: Reached = lambda deployment: deployment.done,
    beside: Beside = _nothing_beside,
) -> Verdict:
    """Wait until a registered job is healthy, has failed, or ``reached`` says that enough has happened.

    What ``beside`` answers is done at the same time as the last look at the deployment, where news ended the waiting.

    ``deadline`` is a value of ``time.monotonic()``. Raises DeadlineExceededError with what is missing when it
    passes, and the errors of ``hms_nomad.clients.errors``. An instance that cannot be placed ends the waiting at
    once, with the reason for each group.
    """
    evaluation = finished_evaluation(nomad, registration.eval_id, deadline)
    if evaluation.failed:
        reasons = "; ".join(f"{group}: {failure.reason()}" for group, failure in evaluation.failed.items())
        return Verdict(False, f"no node can take an instance ({reasons})", _own_deployment(nomad, job_id))
    deployment = _own_deployment(nomad, job_id)
    if deployment is None:
        return Verdict(True, "nothing had to be deployed", None)
    return follow_deployment(nomad, deployment, deadline, report, reached, beside)


def follow_deployment(
    nomad: NomadClient,
    deployment: Deployment,
    deadline: float,
    report: Report,
    reached: Reached = lambda deployment: deployment.done,
    beside: Beside = _nothing_beside,
) -> Verdict:
    """As ``follow``, for a deployment that runs already."""
    watch = _Watch(nomad, deployment, report)
    # The news begin at the deployment's birth and the state is read once after that: nothing falls between the two.
    with nomad.news.of(deployment.job_id, deployment.create_index) as told:
        current = watch.look()
        while not (current.done or reached(current)):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise DeadlineExceededError(f"deployment {deployment.id[:8]} is {watch.summary()}")
            news = told.next(min(remaining, _LONGEST_WITHOUT_LOOK_SECONDS))
            current = watch.take(news) if news else watch.look()
            if news and (current.done or reached(current)):
                current = watch.look(news.index, beside(current))
    if current.done:
        return Verdict(current.status == "successful", current.status_description, current)
    return Verdict(True, "", current)


def await_started(nomad: NomadClient, job: Mapping[str, Any], deadline: float) -> None:
    """Wait until no instance of a job is just being started, before it is updated in place.

    Nomad 2.0.5 misses that the tasks of an instance run when the job is updated in the moment of their start, and calls
    the instance unhealthy at the end of its deadline. One that takes long to start, or cannot, is not waited for beyond
    ``_START_WAIT_SECONDS``. ``deadline`` is a value of ``time.monotonic()``.
    """
    tasks = {
        group["Name"]: {task["Name"] for task in group["Tasks"] if not task.get("Lifecycle")}
        for group in job["TaskGroups"]
    }
    until, index = min(deadline, time.monotonic() + _START_WAIT_SECONDS), 0
    while (remaining := until - time.monotonic()) > 0:
        found = nomad.job_allocations(str(job["ID"]), index=index, wait=remaining if index else 0.0)
        if not any(_is_starting(one, tasks.get(one.group, set())) for one in found.value):
            return
        index = found.index


def deployment_of(nomad: NomadClient, job_id: str, version: int) -> Deployment | None:
    """The deployment of a job's present ``version``, which is the newest; None where that version has none.

    Raises the errors of ``hms_nomad.clients.errors``.
    """
    found = nomad.newest_deployment(job_id)
    return found if found is not None and found.job_version == version else None


def finished_evaluation(nomad: NomadClient, eval_id: str, deadline: float) -> Evaluation:
    """Wait until the scheduler is done with an evaluation; ``deadline`` is a value of ``time.monotonic()``.

    Raises DeadlineExceededError when it is not in time.
    """
    index = 0
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError(f"Nomad did not finish evaluation {eval_id[:8]} in time")
        evaluation = nomad.read_evaluation(eval_id, index=index, wait=min(remaining, _EVALUATION_WAIT_SECONDS))
        if evaluation.status in _FINAL_EVALUATION:
            return evaluation
        index = evaluation.index


def _is_starting(allocation: Allocation, tasks: set[str]) -> bool:
    if allocation.done or allocation.desired_status != "run":
        return False
    states = (allocation.tasks.get(task) for task in tasks)
    return any(state is None or state.state == "pending" for state in states)


def _own_deployment(nomad: NomadClient, job_id: str) -> Deployment | None:
    job = nomad.read_job(job_id)
    return deployment_of(nomad, job_id, job.version) if job is not None else None


class _Watch:
    """Keeps a deployment as it is now and reports what is new in it and in its allocations."""

    def __init__(self, nomad: NomadClient, deployment: Deployment, report: Report) -> None:
        self._nomad = nomad
        self._deployment = deployment
        self._report = report
        self._seen: set[tuple[str, str]] = set()

    def take(self, news: News) -> Deployment:
        """What is there after the news, without asking for it."""
        if news.allocation is not None and news.allocation.deployment_id == self._deployment.id:
            self._report_allocation(news.allocation)
        told = news.deployment
        if told is not None and told.id == self._deployment.id and told.modify_index > self._deployment.modify_index:
            self._deployment = told
            self._report_deployment()
        return self._deployment

    def look(self, index: int = 0, beside: Iterable[Callable[[], object]] = ()) -> Deployment:
        """What is there now, and at least what was told of the deployment at ``index``, with what is done beside it."""
        (self._deployment, allocations), *_ = at_once([partial(self._read, index), *beside])
        for allocation in allocations:
            self._report_allocation(allocation)
        self._report_deployment()
        return self._deployment

    def _read(self, index: int) -> tuple[Deployment, tuple[Allocation, ...]]:
        """Nomad tells of a change before it can be read."""
        snapshot = self._nomad.read_deployment(self._deployment.id)
        tries = _OLD_READS
        while snapshot.value.modify_index < index and (tries := tries - 1) >= 0:
            snapshot = self._nomad.read_deployment(self._deployment.id, index=snapshot.index, wait=_OLD_READ_SECONDS)
        return snapshot.value, self._nomad.deployment_allocations(self._deployment.id).value

    def _report_deployment(self) -> None:
        if self._is_new("deployment", self.summary()):
            self._report(Event("deployment", f"deployment is {self.summary()}", self._facts()))

    def summary(self) -> str:
        groups = self._deployment.groups.values()
        healthy = sum(group.healthy for group in groups)
        wanted = sum(group.desired_total for group in groups)
        return f"{self._deployment.status}, {healthy} of {wanted} instances healthy"

    def _facts(self) -> dict[str, object]:
        return {
            "deployment": self._deployment.id,
            "status": self._deployment.status,
            "groups": {
                name: {"healthy": group.healthy, "unhealthy": group.unhealthy, "desired": group.desired_total}
                for name, group in self._deployment.groups.items()
            },
        }

    def _report_allocation(self, allocation: Allocation) -> None:
        for task, state in allocation.tasks.items():
            for event in state.events:
                if self._is_new(f"{allocation.id}/{task}/{event.time_ns}", event.type):
                    message = f"{allocation.id[:8]} {task}: {event.type}: {event.message}".rstrip(": ")
                    facts = {
                        "allocation": allocation.id,
                        "task": task,
                        "event": event.type,
                        "node": allocation.node_name,
                    }
                    self._report(Event("allocation", message, facts))
        if allocation.healthy is not None and self._is_new(allocation.id, str(allocation.healthy)):
            word = "healthy" if allocation.healthy else "unhealthy"
            self._report(
                Event("allocation", f"{allocation.id[:8]} is {word}", {"allocation": allocation.id, "healthy": word})
            )

    def _is_new(self, subject: str, state: str) -> bool:
        if (subject, state) in self._seen:
            return False
        self._seen.add((subject, state))
        return True
