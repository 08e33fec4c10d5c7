"""A service of which nothing is there yet: it is read once, before its lock is taken, by itself or with others.

Each write of its plan demands that still nothing is there, so whoever was faster is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from hms_nomad.apply.observe import observe_entries
from hms_nomad.clients.consul_types import KvStep
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, Plan
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.store import Kept, StoredRelease
from hms_nomad.workflows.session import Session


class Later(Protocol):
    """``Guard.later``."""

    def __call__(self, step: KvStep, otherwise: Callable[[], object] | None = None) -> None:
        """Something to keep with the transaction at the end."""


class New(Struct, frozen=True):
    """What is desired of a service of which nothing was there: no job, and none of its own entries.

    Each write of its plan demands that this still holds, so nothing has to be read again before it. ``meet`` waits for
    the other new services of its wave, between its intentions and what it writes before them (None: it waits for none).
    """

    desired: Desired
    plan: Plan
    observed: Observed
    meet: Callable[[], None] | None = None


class Seen(Struct, frozen=True):
    """What need not be read any more: the ``new`` service as it was read before its lock was taken, and what was
    ``kept`` of it then. ``begun`` is the record that was kept with the lock (None: none was). ``later`` takes what can
    wait for the end of the command, and what to do where it cannot be kept then (None: nothing can wait). ``meet`` is
    that of ``New``, also where the service is read by itself after all.
    """

    new: New | None = None
    kept: Kept | None = None
    begun: StoredRelease | None = None
    later: Later | None = None
    meet: Callable[[], None] | None = None


NOTHING_SEEN = Seen()


def look_at_new(session: Session, desired: Desired) -> New | None:
    """Read a service; None where a job of its name is there, or anything of its own.

    Nomad is asked in any case, and nothing else where it has the job. Raises ForeignObjectError and the errors of
    ``hms_nomad.clients.errors``.
    """
    if session.nomad.read_job(desired.service) is not None or desired.vault:
        return None
    observed = observe_entries(session.consul, desired.service)
    return new_of(desired, make_plan(desired, observed), observed)


def new_of(desired: Desired, plan: Plan, observed: Observed) -> New | None:
    """A service as it was read; None where it has to be read by itself, under its lock."""
    if observed.job is not None or desired.vault:
        return None
    own = (change for change in plan.changes if change.name == desired.service or change.kind != INTENTIONS)
    return New(desired, plan, observed) if all(change.action is Action.CREATE for change in own) else None
