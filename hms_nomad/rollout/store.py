"""Journals and records of releases in Consul's key-value store, written by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvPair, KvStep, list_keys, swap_key
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


class Kept(Struct, frozen=True):
    """What was kept of a service at one moment: the ``journal``, and the ``releases``, newest first.

    ``newest`` is the greatest number of a record, also of one that this version cannot read (0: there is none).
    """

    journal: Journal
    releases: tuple[Release, ...]
    newest: int


class StoredRelease(Struct, frozen=True):
    """A record as this process wrote it, and the index of that write."""

    release: Release
    index: int


class RolloutStore(Struct, frozen=True):
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

    def reading(self) -> tuple[KvStep, ...]:
        """The steps that read all that is kept, for ``kept_in``."""
        return list_keys(self.key), list_keys(releases_prefix(self.namespace, self.service))

    def kept_in(self, pairs: Iterable[KvPair]) -> Kept:
        """What is kept, from keys that were read already."""
        prefix = releases_prefix(self.namespace, self.service)
        found = list(pairs)
        own = [pair for pair in found if pair.key.startswith(prefix)]
        journal = next((journal_from(pair.value, pair.key) for pair in found if pair.key == self.key), Journal())
        return Kept(journal, _newest_first(own), _newest(own))

    def stored_among(self, pairs: Iterable[KvPair], release: Release) -> StoredRelease | None:
        """A record with its index among keys that were written; None where it is not."""
        key = release_key(self.namespace, self.service, release.number)
        return next((StoredRelease(release, pair.modify_index) for pair in pairs if pair.key == key), None)

    def kept(self) -> Kept:
        """What is kept now."""
        pairs = self.consul.kv_list(releases_prefix(self.namespace, self.service))
        return Kept(self.journal(), _newest_first(pairs), _newest(pairs))

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
        return _newest_first(self.consul.kv_list(releases_prefix(self.namespace, self.service)))

    def release(self, number: int) -> Release | None:
        """One record by its number; None when it is forgotten."""
        pair = self.consul.kv_get(release_key(self.namespace, self.service, number))
        return release_from(pair.value) if pair else None

    def add(self, release: Release, newest: int | None = None) -> Release:
        """Keep a new record under the next free number; answers it with that number.

        ``newest`` is the greatest number as far as it is known already.
        """
        for _ in range(_TRIES):
            if newest is None:
                newest = _newest(self.consul.kv_list(releases_prefix(self.namespace, self.service)))
            numbered, newest = replace(release, number=newest + 1), None
            step = self.adding(numbered)
            if self.consul.kv_put(step.key, step.value, modify_index=0):
                return numbered
        raise ConflictError("consul", f"add a release of {self.service}", self.consul.address, "others keep adding")

    def adding(self, release: Release) -> KvStep:
        """The step that keeps a new record under its number, for a transaction."""
        return swap_key(release_key(self.namespace, self.service, release.number), release_bytes(release), 0)

    def amending(self, stored: StoredRelease, amended: Release) -> KvStep:
        """The step that puts ``amended`` in the place of a record, for a transaction."""
        return swap_key(release_key(self.namespace, self.service, amended.number), release_bytes(amended), stored.index)

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


def _newest_first(pairs: Iterable[KvPair]) -> tuple[Release, ...]:
    found = (release_from(pair.value) for pair in pairs)
    return tuple(sorted((release for release in found if release), key=lambda release: -release.number))


def _newest(pairs: Iterable[KvPair]) -> int:
    numbers = (pair.key.rpartition("/")[2] for pair in pairs)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
