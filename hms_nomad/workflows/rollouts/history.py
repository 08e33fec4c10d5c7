"""``history``: every deploy of a service that is remembered: who, when, what, why, and how it ended."""

from __future__ import annotations

from msgspec import Struct

from hms_nomad.rollout.journal import Journal
from hms_nomad.rollout.records import current_record, with_ends
from hms_nomad.rollout.release import Release
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.operating.job_runs import job_records
from hms_nomad.workflows.session import Session


class History(Struct, frozen=True):
    """The records of a service, newest first; ``current`` is the number of the one that serves, where it is known."""

    service: str
    releases: tuple[Release, ...]
    current: int | None
    journal: Journal


def history(session: Session, name: str) -> History:
    """The deploys of a service. Raises JournalError and the errors of ``hms_nomad.clients.errors``."""
    cluster = cluster_of(session, name, lambda _: None)
    journal = cluster.store.journal()
    observed = cluster.observe()
    found = cluster.store.releases()
    batch = observed.job is not None and observed.job.body.get("Type") == "batch"
    releases = job_records(session, found, observed) if batch else with_ends(found, journal, observed)
    current = current_record(releases, observed)
    return History(name, releases, current.number if current else None, journal)
