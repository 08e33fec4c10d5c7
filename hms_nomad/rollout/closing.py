"""The end of a deploy in its record, by which others go back to it, and the name of its job's version in Nomad."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.release import Release, ReleaseOutcome

KEPT_RELEASES = 20
"""How many releases of a service can be rolled back to."""


def close_release(
    cluster: Cluster, number: int, outcome: ReleaseOutcome, reason: str, job_version: int | None = None
) -> None:
    """Write how a deploy ended into its record, keep Nomad's version of a good one, and forget the oldest.

    ``job_version`` is that version where the record does not name it yet.
    """
    ended = cluster.wall_clock()

    def closed(found: Release) -> Release:
        return with_end(found, outcome, reason, ended, job_version)

    release = cluster.store.amend(number, closed)
    if release is not None and outcome is ReleaseOutcome.SUCCEEDED:
        tag_release(cluster, release)
    # Records are numbered from 1 on, so the first ones are no more than are kept.
    for gone in cluster.store.forget(keep=KEPT_RELEASES) if number > KEPT_RELEASES else ():
        cluster.nomad.untag_version(cluster.service, gone.tag)


def with_end(
    found: Release, outcome: ReleaseOutcome, reason: str, ended: float, job_version: int | None = None
) -> Release:
    """A record with its end; ``ended`` is in seconds since 1970."""
    version = found.job_version if job_version is None else job_version
    return replace(found, outcome=outcome, reason=reason, ended=found.ended or ended, job_version=version)


def tag_release(cluster: Cluster, release: Release) -> None:
    """Let Nomad keep the version of a release's job, where that is known."""
    if release.job_version is not None:
        about = f"{release.version}, by {release.author.who}"
        cluster.nomad.tag_version(cluster.service, release.job_version, release.tag, about)
