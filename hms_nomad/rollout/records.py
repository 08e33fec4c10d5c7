"""Records of deploys against what the servers hold: which one serves, and how those ended that nobody saw end."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from msgspec.structs import replace

from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.journal import Journal
from hms_nomad.rollout.release import Release, ReleaseOutcome
from hms_nomad.rollout.store import Kept


class NoSuchReleaseError(Exception):
    """There is no such release to go back to; the text names those that there are."""


_UNSEEN = "nobody waited for its end"


def with_ends(releases: Iterable[Release], journal: Journal, observed: Observed) -> tuple[Release, ...]:
    """The records with an end for each deploy that is not under way any more, newest first.

    A detached deploy, or one whose process died, left its record open: it succeeded when its job is the one that runs.
    """
    return tuple(_ended(release, journal, observed) for release in sorted(releases, key=lambda found: -found.number))


def current_record(releases: Iterable[Release], observed: Observed) -> Release | None:
    """The newest good record of what runs now."""
    job = observed.job
    if job is None or job.stopped:
        return None
    running = job.service_meta.get("release")
    good = (found for found in releases if found.outcome is ReleaseOutcome.SUCCEEDED)
    return next((found for found in good if found.release == running), None)


def close_unseen(cluster: Cluster, kept: Kept, observed: Observed) -> None:
    """Write the ends that ``with_ends`` finds."""
    for before, after in zip(kept.releases, with_ends(kept.releases, kept.journal, observed), strict=True):
        if before != after:
            cluster.store.amend(before.number, partial(_with_end, after))


def _with_end(end: Release, stored: Release) -> Release:
    return replace(stored, outcome=end.outcome, reason=end.reason, job_version=end.job_version)


def _ended(release: Release, journal: Journal, observed: Observed) -> Release:
    under_way = journal.rollout is not None and journal.rollout.number == release.number
    if release.outcome is not ReleaseOutcome.RUNNING or under_way:
        return release
    job = observed.job
    if job is not None and not job.stopped and job.service_meta.get("digest") == release.digest:
        if not job.settled:
            return release
        return replace(release, outcome=ReleaseOutcome.SUCCEEDED, reason=_UNSEEN, job_version=job.version)
    return replace(release, outcome=ReleaseOutcome.FAILED, reason=_UNSEEN)
