"""Session -> our services: which jobs of the namespace are ours, and their bodies, read side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hms_nomad.clients.nomad_types import JobSummary
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.gateway import PLATFORM_KEY
from hms_nomad.workflows.session import Session

T = TypeVar("T")
R = TypeVar("R")

# Well below the connections that one address may hold open at the servers (Nomad 100, Consul 200 by default).
_AT_ONCE = 8


def our_jobs(session: Session) -> tuple[JobSummary, ...]:
    """The namespace's jobs that carry our mark, by name; stopped ones and the platform's own are left out.

    A run of a job with a schedule (NAME/periodic-...) inherits the mark, and is no job of its own.
    """
    ours = (job for job in session.nomad.list_jobs() if job.meta.get(OWNER_KEY) == OWNER and "/" not in job.id)
    return tuple(sorted((job for job in ours if not job.stop and PLATFORM_KEY not in job.meta), key=lambda job: job.id))


def service_names(session: Session) -> tuple[str, ...]:
    """Names of our services in the namespace."""
    return tuple(job.id for job in our_jobs(session))


def side_by_side(ask: Callable[[T], R], subjects: Iterable[T]) -> list[R]:
    """The answers of ``ask`` for each subject, in their order, asked a few at a time."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(ask, subjects))
