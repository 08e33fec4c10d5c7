"""What people want of a rollout -> the journal, where whoever drives it reads it. Each is a no-op without a rollout."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.journal import Journal, Rollout


def pause_rollout(cluster: Cluster, number: int | None = None) -> Rollout | None:
    """Let the rollout enter no further step; answers it as it is now."""
    return _steer(cluster, number, lambda rollout: replace(rollout, paused=True))


def resume_rollout(cluster: Cluster) -> Rollout | None:
    """Let a paused rollout go on; answers it as it is now."""
    return _steer(cluster, None, lambda rollout: replace(rollout, paused=False))


def promote_rollout(cluster: Cluster, weight: float | None, full: bool) -> Rollout | None:
    """Let the rollout enter its next step at once, or with ``full`` take all the traffic; answers it as it is now.

    ``weight`` is what the new release has now: the present step, where it is not entered yet, is the next one.
    """

    def promoted(rollout: Rollout) -> Rollout:
        if full:
            return replace(rollout, go=len(rollout.policy.steps), paused=False)
        return replace(rollout, go=rollout.step + 1 if weight == rollout.weight else rollout.step)

    return _steer(cluster, None, promoted)


def abort_rollout(cluster: Cluster, reason: str, who: str) -> Rollout | None:
    """Say that the new release is to be taken back, unless the old one retires already; the first reason stays.

    Answers the rollout as it is now.
    """
    return _steer(
        cluster,
        None,
        lambda rollout: (
            rollout
            if rollout.taken_back or rollout.retiring
            else replace(rollout, taken_back=reason, taken_back_by=who)
        ),
    )


def _steer(cluster: Cluster, number: int | None, how: Callable[[Rollout], Rollout]) -> Rollout | None:
    def steered(journal: Journal) -> Journal:
        rollout = journal.rollout
        if rollout is None or number not in (None, rollout.number):
            return journal
        return replace(journal, rollout=how(rollout))

    return cluster.store.change(steered).rollout
