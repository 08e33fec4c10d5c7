"""The instances of a service that a command is about, by name, by the beginning of an id, and by task."""

from __future__ import annotations

from collections.abc import Sequence

from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.nomad_types import Allocation
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.plan.change import ForeignObjectError
from hms_nomad.workflows.operating.runs import latest_run
from hms_nomad.workflows.operating.status import not_there
from hms_nomad.workflows.session import Session


def job_meant(session: Session, name: str, operation: str) -> str:
    """The job whose instances are meant: that of the name, or the latest run of one with a schedule.

    ``operation`` says in words what is asked of it, for errors. Raises NotFoundError where there is no such service or
    it has not run yet, ForeignObjectError for a job of others, and the errors of ``hms_nomad.clients.errors``.
    """
    job = session.nomad.read_job(name)
    if job is None:
        raise not_there(session, name)
    if job.meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError("job", name)
    run = latest_run(session, job)
    if run is None:
        raise absent(session, operation, f"{name} has not run yet; hms-nomad status {name} shows its schedule")
    return run


def instances_of(session: Session, name: str, operation: str, begins: str = "") -> list[Allocation]:
    """The instances of a job that Nomad remembers, oldest first; with ``begins`` those whose id begins so.

    Raises NotFoundError where none begins so, and the errors of ``hms_nomad.clients.errors``.
    """
    found = sorted(session.nomad.job_allocations(name).value, key=lambda one: (one.create_index, one.name))
    named = [one for one in found if one.id.startswith(begins)]
    if begins and not named:
        raise absent(session, operation, f"{name} has no instance {begins!r}; see hms-nomad status {name}")
    return named


def with_task(session: Session, name: str, operation: str, found: Sequence[Allocation], task: str) -> list[Allocation]:
    """The same instances, if one of them has such a task; one whose tasks are not known yet may have it.

    Raises NotFoundError.
    """
    known = {each for one in found for each in one.tasks}
    if known and task not in known:
        raise absent(session, operation, f"{name} has no task {task!r}; there is {', '.join(sorted(known))}")
    return list(found)


def absent(session: Session, operation: str, detail: str) -> NotFoundError:
    """The error for an instance or a task that is not there."""
    return NotFoundError("nomad", operation, session.nomad.address, detail, 404)
