"""Servers -> what commands that died, or hands that went past us, left behind with nobody to care for it.

``status`` and ``doctor`` name it. Nothing is written here: each orphan says which command takes it up or away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.apply.lock import Holder, holder_of, is_alive, lock_key
from hms_nomad.apply.run_journal import Unfinished, runs_prefix, unfinished_among
from hms_nomad.clients.consul_types import KvPair, StoredEntry
from hms_nomad.compile.canary import owner_of
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.external import EXTERNAL_KEY
from hms_nomad.plan.diff import OWN_KINDS
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.intentions import declarers
from hms_nomad.rollout.journal import JournalError, journal_from, journal_key
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.session import Session

_DEFAULTS = "service-defaults"


class Orphan(Struct, frozen=True):
    """One thing that nobody cares for.

    ``kind`` is "run" (a command died or gave up), "lock" (its holder is dead), "rollout" (nobody drives it), "entry"
    (a config entry of ours whose service has no job) or "right" (an intention that the spec of such a service
    declared). ``service`` is whose it is, ``what`` says it in words, ``remedy`` is the command that takes it up or
    away.
    """

    kind: str
    service: str
    what: str
    remedy: str


def find_orphans(session: Session, name: str | None = None) -> tuple[Orphan, ...]:
    """What is left behind in the session's namespace, or of one service, by service.

    A service counts as there when it has a job that is not stopped, an instance in the catalog, or a spec that says it
    runs elsewhere; one that a living command works on has no orphans. Twelve calls, however many services there are,
    and one for each lock and run. Raises the errors of ``hms_nomad.clients.errors``.
    """
    namespace = session.platform.namespace
    prefixes = (lock_key(namespace, ""), runs_prefix(namespace), journal_key(namespace, ""))
    locks, runs, rollouts = side_by_side(session.consul.kv_list, prefixes)
    working = _Working.of(session, locks)
    there = {job.id for job in session.nomad.list_jobs() if not job.stop} | set(session.consul.services().value)
    stored = [entry for kind in side_by_side(session.consul.list_entries, (*OWN_KINDS, INTENTIONS)) for entry in kind]
    there |= {one.name for one in stored if one.kind == _DEFAULTS and EXTERNAL_KEY in _meta(one.body)}
    found = [
        *(_run(one) for one in unfinished_among(session.consul, runs)),
        *(_lock(holder) for holder in working.dead),
        *_rollouts(rollouts, working.alive),
        *_entries(stored, there | working.alive),
        *_rights(stored, there | working.alive),
    ]
    # A service has several entries of a kind.
    named = dict.fromkeys(one for one in found if name in (None, one.service))
    return tuple(sorted(named, key=lambda one: one.service))


class _Working(Struct, frozen=True):
    """Services on which a living command works, and the locks of dead ones."""

    alive: frozenset[str]
    dead: tuple[Holder, ...]

    @classmethod
    def of(cls, session: Session, locks: tuple[KvPair, ...]) -> _Working:
        alive, dead = set(), []
        for pair in locks:
            if not pair.session:
                continue
            holder = holder_of(pair)
            if is_alive(session.consul, holder.lock_id, holder.process):
                alive.add(holder.service)
            else:
                dead.append(holder)
        return cls(frozenset(alive), tuple(dead))


def again(command: str, service: str) -> str:
    """The command line that repeats a command on a service."""
    return "hms-nomad deploy SPEC" if command == "deploy" else f"hms-nomad {command} {service}"


def _run(one: Unfinished) -> Orphan:
    return Orphan("run", one.run.service, str(one), again(one.run.command, one.run.service))


def _lock(holder: Holder) -> Orphan:
    return Orphan(
        "lock",
        holder.service,
        f"lock of {holder}, which is dead",
        f"hms-nomad lock release {holder.service} --id {holder.lock_id}",
    )


def _rollouts(pairs: tuple[KvPair, ...], alive: frozenset[str]) -> Iterator[Orphan]:
    for pair in pairs:
        service = pair.key.rpartition("/")[2]
        try:
            rollout = journal_from(pair.value, pair.key).rollout
        except JournalError as unreadable:
            yield Orphan("rollout", service, str(unreadable), f"hms-nomad history {service}")
            continue
        # Who paused a rollout knows that it waits.
        if rollout is not None and not rollout.paused and service not in alive:
            step = f"step {rollout.step + 1} of {len(rollout.policy.steps)}"
            what = f"rollout from {rollout.stable_version} to {rollout.version} at {step}, which nobody drives"
            yield Orphan("rollout", service, what, f"hms-nomad resume {service}")


def _entries(stored: list[StoredEntry], there: set[str] | frozenset[str]) -> Iterator[Orphan]:
    by_path = {
        one.name
        for one in stored
        if one.kind == INTENTIONS and any(source.get("Permissions") for source in one.body.get("Sources") or ())
    }
    for one in stored:
        service = owner_of(one.name)
        if one.kind == INTENTIONS or service in there or _meta(one.body).get(OWNER_KEY) != OWNER:
            continue
        # Consul keeps the protocol of a service that is gone for as long as callers have rights to it by path.
        if one.kind != _DEFAULTS or one.name not in by_path:
            yield Orphan("entry", service, f"{one.kind} of a service that has no job", f"hms-nomad stop {service}")


def _rights(stored: list[StoredEntry], there: set[str] | frozenset[str]) -> Iterator[Orphan]:
    for one in stored:
        if one.kind != INTENTIONS:
            continue
        for source in one.body.get("Sources") or ():
            for owner in sorted(declarers(source, one.name) - there):
                what = f"right of {source['Name']} to call {one.name}, declared by {owner}, which has no job"
                yield Orphan("right", owner, what, f"hms-nomad stop {owner}")


def _meta(body: Mapping[str, Any]) -> Mapping[str, str]:
    return body.get("Meta") or {}
