"""Journals and records of releases in Consul's key-value store, written by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import ConflictError
from hms_nomad.rollout.journal import Journal, journal_bytes, journal_from, journal_key
from hms_nomad.rollout.release import (
    Release,
    release_bytes,
    release_from,
    release_key,
    releases_prefix,
)

_TRIES = 20


@dataclass(frozen=True, slots=True)
class RolloutStore:
    """What is kept of one service. All calls raise the errors of ``hms_nomad.clients.errors`` and JournalError."""

    consul: ConsulClient
    namespace: str
    service: str

    @property
    def key(self) -> str:
        """The journal's key."""
        return journal_key(self.namespace, self.service)

    def journal(self) -> Journal:
        """The journal; an empty one where nothing is kept."""
        return self._stored()[0]

    def change(self, how: Callable[[Journal], Journal]) -> Journal:
        """Write what ``how`` makes of the journal, as often as it takes to win over other writers; answers the result.

        ``how`` must decide anew each time from what it is given. Raises ConflictError when others keep winning.
        """
        for _ in range(_TRIES):
            journal, index = self._stored()
            changed = how(journal)
            if changed == journal or self._write(changed, index):
                return changed
        raise ConflictError("consul", f"write key {self.key}", self.consul.address, "others keep changing it")

    def releases(self) -> tuple[Release, ...]:
        """The records of all deploys that are remembered, newest first."""
        found = (
            release_from(pair.value) for pair in self.consul.kv_list(releases_prefix(self.namespace, self.service))
        )
        return tuple(sorted((release for release in found if release), key=lambda release: -release.number))

    def release(self, number: int) -> Release | None:
        """One record by its number; None when it is forgotten."""
        pair = self.consul.kv_get(release_key(self.namespace, self.service, number))
        return release_from(pair.value) if pair else None

    def add(self, release: Release) -> Release:
        """Keep a new record under the next free number; answers it with that number."""
        for _ in range(_TRIES):
            pairs = self.consul.kv_list(releases_prefix(self.namespace, self.service))
            newest = max((int(pair.key.rsplit("/", 1)[1]) for pair in pairs), default=0)
            numbered = replace(release, number=newest + 1)
            key = release_key(self.namespace, self.service, numbered.number)
            if self.consul.kv_put(key, release_bytes(numbered), modify_index=0):
                return numbered
        raise ConflictError("consul", f"add a release of {self.service}", self.consul.address, "others keep adding")

    def drop(self, number: int) -> None:
        """Forget one record."""
        pair = self.consul.kv_get(release_key(self.namespace, self.service, number))
        if pair is not None:
            self.consul.kv_delete(pair.key, pair.modify_index)

    def amend(self, number: int, how: Callable[[Release], Release]) -> Release | None:
        """Write what ``how`` makes of a record; answers the result, or None when the record is forgotten."""
        key = release_key(self.namespace, self.service, number)
        for _ in range(_TRIES):
            pair = self.consul.kv_get(key)
            release = release_from(pair.value) if pair else None
            if pair is None or release is None:
                return None
            amended = how(release)
            if amended == release or self.consul.kv_put(key, release_bytes(amended), modify_index=pair.modify_index):
                return amended
        raise ConflictError("consul", f"write key {key}", self.consul.address, "others keep changing it")

    def forget(self, keep: int = 0) -> tuple[Release, ...]:
        """Forget all records but the ``keep`` newest; without any left the journal goes too. Answers what went."""
        pairs = sorted(
            self.consul.kv_list(releases_prefix(self.namespace, self.service)), key=lambda pair: pair.key, reverse=True
        )
        gone = pairs[keep:]
        for pair in gone:
            self.consul.kv_delete(pair.key, pair.modify_index)
        if keep == 0:
            journal = self.consul.kv_get(self.key)
            if journal is not None:
                self.consul.kv_delete(self.key, journal.modify_index)
        return tuple(release for pair in gone if (release := release_from(pair.value)))

    def _stored(self) -> tuple[Journal, int]:
        pair = self.consul.kv_get(self.key)
        return (journal_from(pair.value, self.key), pair.modify_index) if pair else (Journal(), 0)

    def _write(self, journal: Journal, index: int) -> bool:
        if journal == Journal():
            return index == 0 or self.consul.kv_delete(self.key, index)
        return self.consul.kv_put(self.key, journal_bytes(journal), modify_index=index)
