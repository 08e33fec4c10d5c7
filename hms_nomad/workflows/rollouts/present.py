"""What the journals say of rollouts under way, for commands that only look; nothing is written."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from hms_nomad.apply.progress import Event
from hms_nomad.compile.entries import SPLITTER
from hms_nomad.plan.change import Plan
from hms_nomad.rollout.journal import JournalError, Rollout
from hms_nomad.rollout.look import present_weight
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.deploying.converge import cluster_of
from hms_nomad.workflows.session import Session


class Present(Struct, frozen=True):
    """A rollout under way; ``weight`` is the share of traffic, in percent, that the new release has now (None: nothing
    splits the traffic).
    """

    rollout: Rollout
    weight: float | None


def present(session: Session, name: str) -> Present | None:
    """The rollout of a service; None where none is under way, or its journal is not to be read by this version.

    Raises the errors of ``hms_nomad.clients.errors``.
    """
    rollout = _rollout(session, name)
    if rollout is None:
        return None
    return Present(rollout, present_weight(cluster_of(session, name, _unheard), rollout))


def among(session: Session, plans: Iterable[Plan]) -> tuple[str, ...]:
    """What a reader of these plans has to know of rollouts: a sentence for each service that has one.

    What a rollout adds to the mesh is in no spec, so a plan calls it a change. Only services whose traffic is split are
    asked for, with one call each. Raises the errors of ``hms_nomad.clients.errors``.
    """
    split = [one.service for one in plans if any(change.kind == SPLITTER for change in one.changes)]
    found = [(name, _rollout(session, name)) for name in split]
    return tuple(
        f"a rollout of {name} from {one.stable_version} to {one.version} is under way (step {one.step + 1} of "
        f"{len(one.policy.steps)}): what it added to the mesh is listed as a change, and goes at its end; see it with: "
        f"hms-nomad status {name}"
        for name, one in found
        if one is not None
    )


def _rollout(session: Session, name: str) -> Rollout | None:
    try:
        return RolloutStore(session.consul, session.platform.namespace, name).journal().rollout
    except JournalError:
        # It is named among what is left behind.
        return None


def _unheard(event: Event) -> None:
    del event
