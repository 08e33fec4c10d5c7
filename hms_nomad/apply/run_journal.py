"""What a changing command is about to do and has done -> a record in Consul, kept from its first change to its last.

A record whose command is dead, or that says why its command gave up, is an unfinished run: ``status`` names it, and the
next command on the service that ends well closes it. No secrets: names of objects, indexes, and who.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.lock import Process, is_alive
from hms_nomad.apply.moments import moment_from
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvPair, KvStep, drop_key, list_keys, swap_key
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.plan.change import Plan

RUN_SCHEMA = 1
_MOST_DONE = 200


class Planned(Struct, frozen=True):
    """One object that a run means to change; ``index`` is the one that was read (0: it did not exist)."""

    kind: str
    name: str
    action: str
    index: int


class Run(Struct, frozen=True):
    """One run. ``phase`` says where it is; ``ended`` why it gave up ("" while it works or when it died).

    ``accessor`` is that of the Consul token it used ("" without one), ``lock_id`` its session, ``started`` seconds
    since 1970, ``digest`` that of what it wants, ``done`` what it has changed.
    """

    id: str
    service: str
    namespace: str
    command: str
    who: str
    accessor: str
    process: Process
    lock_id: str
    started: float
    digest: str = ""
    phase: str = "begun"
    planned: tuple[Planned, ...] = ()
    done: tuple[str, ...] = ()
    ended: str = ""
    message: str = ""
    schema: int = RUN_SCHEMA

    def with_done(self, what: str) -> Run:
        """The same with one change more."""
        return replace(self, done=(*self.done, what)[-_MOST_DONE:])


class Unfinished(Struct, frozen=True):
    """A run that did not come to its end, and why."""

    run: Run
    why: str

    def __str__(self) -> str:
        done = ", ".join(self.run.done) or "nothing that is known"
        return f"{self.run.command} by {self.run.who} {self.why} in the phase {self.run.phase}; done: {done}"


class HalfDoneError(Exception):
    """A server became unavailable in the midst of changes; those that were made stay, and the run is unfinished."""

    def __init__(self, fault: UnavailableError, done: tuple[str, ...]) -> None:
        super().__init__(f"{fault}; done until then: {', '.join(done)}")
        self.fault = fault
        self.done = done


class RunJournal:
    """The records of one service. All calls raise the errors of ``hms_nomad.clients.errors``."""

    def __init__(self, consul: ConsulClient, namespace: str, service: str) -> None:
        self._consul = consul
        self._prefix = runs_prefix(namespace, service)

    def write(self, run: Run, index: int) -> int:
        """Write a record by compare-and-set and answer its new index; ``index`` 0 makes it.

        Only the run itself writes its record. When somebody closed it meanwhile, nothing is written and 0 answered.
        """
        key = f"{self._prefix}{run.id}"
        written = self._consul.kv_transact(f"write key {key}", (self._swap(run, index),))
        return written.index_of(key) if written.done else 0

    def close(self, run_id: str) -> None:
        """Forget a record; one that is gone is no error."""
        key = f"{self._prefix}{run_id}"
        pair = self._consul.kv_get(key)
        if pair is not None:
            self._consul.kv_delete(key, pair.modify_index)

    def opening(self, run: Run) -> KvStep:
        """The step that makes a record, for a transaction."""
        return self._swap(run, 0)

    def index_among(self, pairs: Iterable[KvPair], run_id: str) -> int:
        """The index of a record among keys that were read or written; 0 where it is not."""
        return next((pair.modify_index for pair in pairs if pair.key == f"{self._prefix}{run_id}"), 0)

    def _swap(self, run: Run, index: int) -> KvStep:
        return swap_key(f"{self._prefix}{run.id}", msgspec.json.encode(run), index)

    def closing(self, run_id: str, index: int) -> KvStep:
        """The step that forgets a record which this process wrote last with ``index``, for a transaction."""
        return drop_key(f"{self._prefix}{run_id}", index)

    def reading(self) -> KvStep:
        """The step that reads the records, for ``among``."""
        return list_keys(self._prefix)

    def among(self, pairs: Iterable[KvPair]) -> bool:
        """Whether any record is among keys that were read already."""
        return any(pair.key.startswith(self._prefix) for pair in pairs)

    def unfinished(self, own: str = "") -> tuple[Unfinished, ...]:
        """The runs but the ``own`` one that ended without coming to their end, oldest first."""
        others = (pair for pair in self._consul.kv_list(self._prefix) if pair.key != f"{self._prefix}{own}")
        return unfinished_among(self._consul, others)


def unfinished_among(consul: ConsulClient, pairs: Iterable[KvPair]) -> tuple[Unfinished, ...]:
    """Of stored records those whose runs gave up or died, oldest first. Raises ``hms_nomad.clients.errors``."""
    found = []
    for pair in pairs:
        run = run_from(pair.value)
        if run is None:
            continue
        if run.ended:
            found.append(Unfinished(run, run.ended))
        elif not is_alive(consul, run.lock_id, run.process):
            found.append(Unfinished(run, "died"))
    return tuple(sorted(found, key=lambda one: one.run.started))


def runs_prefix(namespace: str, service: str | None = None) -> str:
    """Where the records of a service's runs lie in Consul's store, or those of all services of a namespace."""
    return f"hms-nomad/runs/{namespace}/{service}/" if service is not None else f"hms-nomad/runs/{namespace}/"


def run_from(data: bytes) -> Run | None:
    """The record that was stored; None for what this version cannot read."""
    try:
        run = msgspec.json.decode(data, type=Run)
        moment_from(run.started)
    except (ValueError, RecursionError):
        return None
    return run if run.schema == RUN_SCHEMA else None


def planned_facts(plan: Plan) -> Mapping[str, Any]:
    """A plan as the event that announces it carries it."""
    return {
        "changes": len(plan.effective),
        "digest": plan.digest,
        "planned": [(change.kind, change.name, str(change.action), change.index) for change in plan.effective],
    }


def planned_of(rows: Iterable[Iterable[Any]]) -> tuple[Planned, ...]:
    """The reverse of ``planned_facts``."""
    return tuple(Planned(str(kind), str(name), str(action), int(index)) for kind, name, action, index in rows)
