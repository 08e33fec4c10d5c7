"""The small journal of a service's rollouts: what cannot be read from live objects, so that any process can go on.

It holds no secrets: releases, the rules, the step, who wants what and why.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.moments import moment_from
from hms_nomad.rollout.policy import Policy

JOURNAL_SCHEMA = 1
_LONGEST_REJECTIONS = 50


class JournalError(Exception):
    """The journal of a service cannot be read: another version of hms-nomad, or somebody else, wrote it."""


class Author(Struct, frozen=True):
    """Who did something, and why: ``who`` is user@host, ``commit`` the revision of the spec ("" when unknown)."""

    who: str
    message: str = ""
    commit: str = ""


class Rollout(Struct, frozen=True):
    """One rollout under way, from one release to the next. Times are seconds since 1970.

    ``number`` is that of the new release's record. ``step`` counts from 0; ``go`` is the highest step that may be
    entered without waiting, which is how `promote` speaks to whoever drives (beyond the last one: all the way).
    ``acknowledged`` is the weight, in percent, that every caller's proxy is known to have (None: not known), and
    ``forgotten`` the release that none of them knows any more. ``retiring`` says that nothing is taken back any more.
    ``taken_back`` is the reason why the new release must go, ``taken_back_by`` who said so ("" : its own fault).
    """

    number: int
    stable: str
    candidate: str
    digest: str
    version: str
    stable_version: str
    policy: Policy
    author: Author
    started: float
    stable_number: int = 0
    registered: float | None = None
    step: int = 0
    step_since: float | None = None
    acknowledged: float | None = None
    retiring: bool = False
    forgotten: str = ""
    paused: bool = False
    go: int = -1
    taken_back: str = ""
    taken_back_by: str = ""

    @property
    def last_step(self) -> int:
        """Index of the step with all of the traffic."""
        return len(self.policy.steps) - 1

    @property
    def weight(self) -> float:
        """The share of traffic, in percent, that the present step gives the new release."""
        return self.policy.steps[min(self.step, self.last_step)]

    @property
    def unheld(self) -> bool:
        """True when somebody asked for all the traffic at once (`promote --full`)."""
        return self.go > self.last_step


class Rejection(Struct, frozen=True):
    """A release that was taken back, which is not deployed again unless somebody insists."""

    release: str
    version: str
    reason: str
    who: str
    when: float


class Journal(Struct, frozen=True):
    """What is kept for one service: the rollout under way, if any, and the releases that were taken back."""

    rollout: Rollout | None = None
    rejected: tuple[Rejection, ...] = msgspec.field(default=())
    schema: int = JOURNAL_SCHEMA

    def rejection(self, release: str) -> Rejection | None:
        """Why a release was taken back; None when it was not."""
        return next((found for found in self.rejected if found.release == release), None)

    def with_rejection(self, rejection: Rejection) -> Journal:
        """The same with one release more that was taken back; old ones are forgotten after a while."""
        others = tuple(found for found in self.rejected if found.release != rejection.release)
        return replace(self, rejected=(*others, rejection)[-_LONGEST_REJECTIONS:])

    def without_rejection(self, release: str) -> Journal:
        """The same with the release allowed again."""
        return replace(self, rejected=tuple(found for found in self.rejected if found.release != release))


def journal_key(namespace: str, service: str) -> str:
    """Key of a service's journal in Consul's store."""
    return f"hms-nomad/rollouts/{namespace}/{service}"


def journal_bytes(journal: Journal) -> bytes:
    """The journal as it is stored."""
    return msgspec.json.encode(journal)


def journal_from(data: bytes, key: str) -> Journal:
    """The journal that was stored under ``key``. Raises JournalError."""
    try:
        journal = msgspec.json.decode(data, type=Journal)
        rollout = journal.rollout
        moments = (rollout.started, rollout.registered or 0.0, rollout.step_since or 0.0) if rollout else ()
        for moment in (*moments, *(found.when for found in journal.rejected)):
            moment_from(moment)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"the key {key} in Consul holds no journal that this version can read: {error}") from None
    if journal.schema != JOURNAL_SCHEMA:
        raise JournalError(
            f"the key {key} in Consul was written by another version (schema {journal.schema}); "
            f"use that version, or delete the key when no rollout is under way"
        )
    return journal
