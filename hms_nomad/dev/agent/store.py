"""The agent's state: objects as Nomad's API shows them, in memory and in one SQLite file, with one index for all.

Every write is committed before it is answered: what was acknowledged survives a killed agent. Objects are never
changed in place; a new one takes the place of the old, so that events and answers can hold on to theirs.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent.values import Json

TABLES = (
    "jobs",
    "versions",
    "evals",
    "allocs",
    "deployments",
    "policies",
    "scaling",
    "namespaces",
    "nodes",
    "dispatches",
    "variables",
)
SILENT = "-"
"""The event of a change that no event tells of."""

_SEPARATOR = "\0"
_OF_A_JOB = frozenset({"evals", "allocs", "deployments"})


def job_key(namespace: str, job_id: str) -> str:
    """The key of a job among those of all namespaces."""
    return f"{namespace}{_SEPARATOR}{job_id}"


def key_of(body: Mapping[str, Any]) -> str:
    """The key of the job that an allocation, evaluation or deployment belongs to."""
    return job_key(str(body.get("Namespace") or "default"), str(body["JobID"]))


def variable_key(namespace: str, path: str) -> str:
    """The key of a variable among those of all namespaces."""
    return f"{namespace}{_SEPARATOR}{path}"


def version_key(namespace: str, job_id: str, create_index: int, version: int) -> str:
    """The key of one version; a job that was purged and registered anew has other ones."""
    return _SEPARATOR.join((namespace, job_id, str(create_index), str(version)))


class Change(Struct, frozen=True):
    """One object that was written (``after`` is None for one that was forgotten) and the event that tells of it."""

    table: str
    key: str
    before: Json | None
    after: Json | None
    event: str


class Transaction:
    """Writes that become true together, at one index."""

    def __init__(self, store: Store, index: int) -> None:
        self.index = index
        self.changes: list[Change] = []
        self._store = store

    def put(self, table: str, key: str, body: Json, event: str = "") -> Json:
        """Store ``body``; ``event`` is the type of the event that tells of it ("": the table's usual one)."""
        body["ModifyIndex"] = self.index
        body.setdefault("CreateIndex", self.index)
        self._apply(Change(table, key, self._store.tables[table].get(key), body, event))
        return body

    def remove(self, table: str, key: str, event: str = "") -> None:
        """Forget an object; ``event`` is the type of the event that tells of it ("": none does)."""
        before = self._store.tables[table].get(key)
        if before is not None:
            self._apply(Change(table, key, before, None, event))

    def _apply(self, change: Change) -> None:
        self.changes.append(change)
        self._store.apply(change.table, change.key, change.after)


class Store:
    """All objects, by table and key. Only the event loop's thread uses it, so nothing is locked."""

    def __init__(self, file: Path) -> None:
        """``file`` is made where it is not there; its folder must be."""
        self.tables: dict[str, dict[str, Json]] = {name: {} for name in TABLES}
        self.listeners: list[Callable[[int, tuple[Change, ...]], None]] = []
        self.index = 1
        self._of_job: dict[tuple[str, str], dict[str, Json]] = {}
        self._indexes: dict[tuple[str, str], int] = {}
        self._news = asyncio.Event()
        self._file = sqlite3.connect(file, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS objects (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id))")
        self._load()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction at the next index; when its block raises, nothing of it is kept."""
        transaction = Transaction(self, self.index + 1)
        try:
            yield transaction
            self._commit(transaction)
        except BaseException:
            for change in reversed(transaction.changes):
                self.apply(change.table, change.key, change.before)
            raise
        if transaction.changes:
            changes = tuple(transaction.changes)
            for listener in self.listeners:
                listener(transaction.index, changes)
            news, self._news = self._news, asyncio.Event()
            news.set()

    def apply(self, table: str, key: str, body: Json | None) -> None:
        """Put one object into memory, or take it out."""
        before = self.tables[table].pop(key, None)
        known = body or before
        if body is not None:
            self.tables[table][key] = body
        if table in _OF_A_JOB and known is not None:
            rows = self._of_job.setdefault((table, key_of(known)), {})
            if body is None:
                rows.pop(key, None)
            else:
                rows[key] = body

    def of_job(self, table: str, job: str) -> list[Json]:
        """The allocations, evaluations or deployments of the job with the key ``job``, oldest first."""
        return sorted(self._of_job.get((table, job), {}).values(), key=lambda row: int(row["CreateIndex"]))

    def versions(self, job: Json) -> list[Json]:
        """The versions of a job that are remembered, newest first."""
        prefix = version_key(job["Namespace"], job["ID"], job["CreateIndex"], 0)[:-1]
        found = [body for key, body in self.tables["versions"].items() if key.startswith(prefix)]
        return sorted(found, key=lambda body: -int(body["Version"]))

    def last_index(self, table: str, scope: str = "") -> int:
        """When a table was written last, or what belongs to one job (``scope``: its key) or one object (its id)."""
        return self._indexes.get((table, scope), 0)

    async def news(self, seconds: float) -> None:
        """Wait until something is written, at most ``seconds``."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return

    def _commit(self, transaction: Transaction) -> None:
        if not transaction.changes:
            return
        rows = [("index", "", str(transaction.index))]
        gone: list[tuple[str, str]] = []
        last = {(change.table, change.key): change for change in transaction.changes}
        for (table, key), change in last.items():
            if change.after is None:
                gone.append((table, key))
            else:
                rows.append((table, key, json.dumps(without_job(table, change.after), separators=(",", ":"))))
        self._file.execute("BEGIN IMMEDIATE")
        try:
            self._file.executemany("REPLACE INTO objects VALUES (?, ?, ?)", rows)
            self._file.executemany("DELETE FROM objects WHERE kind = ? AND id = ?", gone)
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")
        self.index = transaction.index
        self._note(transaction.index, transaction.changes)

    def _note(self, index: int, changes: Iterable[Change]) -> None:
        for change in changes:
            body = change.after or change.before or {}
            scopes = {"", change.key}
            if change.table in _OF_A_JOB:
                scopes.add(key_of(body))
            self._indexes.update({(change.table, scope): index for scope in scopes})

    def _load(self) -> None:
        for kind, key, text in self._file.execute("SELECT kind, id, body FROM objects").fetchall():
            if kind == "index":
                self.index = int(text)
            elif kind in self.tables:
                self.apply(kind, key, json.loads(text))
        for body in list(self.tables["allocs"].values()):
            self.apply("allocs", body["ID"], {**body, "Job": self._job_of(body)})
        for table, rows in self.tables.items():
            for key, body in rows.items():
                self._note(int(body["ModifyIndex"]), [Change(table, key, None, body, "")])
            newest = max((int(body["ModifyIndex"]) for body in rows.values()), default=0)
            self._indexes[(table, "")] = newest

    def _job_of(self, alloc: Json) -> Json | None:
        key = version_key(
            alloc["Namespace"], alloc["JobID"], int(alloc.get("JobCreateIndex") or 0), int(alloc["JobVersion"])
        )
        return self.tables["versions"].get(key)


def without_job(table: str, body: Json) -> Json:
    """What is stored and told of a row: an allocation without its job, which stands among the versions."""
    return {key: value for key, value in body.items() if key != "Job"} if table == "allocs" else body
