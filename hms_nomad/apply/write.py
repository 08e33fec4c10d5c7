"""Plan -> servers: each change written by compare-and-set, in the order that never leaves traffic without a target."""

from __future__ import annotations

from collections.abc import Iterable

from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.registered import note_registration
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import StoredEntry
from hms_nomad.clients.errors import ConflictError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Registration
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.gateway import ROUTE_KIND
from hms_nomad.plan.change import Action, Change

_SPLITTER = "service-splitter"
_VERDICT_TRIES = 5
_VERBS = {Action.CREATE: "created", Action.UPDATE: "updated", Action.DELETE: "deleted"}


def write_entries(changes: Iterable[Change], consul: ConsulClient, report: Report) -> None:
    """Write the config entries among ``changes``: removals from the outermost inwards, then the rest in the given
    order. Routes of the gateway are only removed here: ``write_routes`` opens them once the service runs.

    Raises ConflictError when an entry changed since it was read, and the other errors of
    ``hms_nomad.clients.errors``. Entries that were written before an error stay; the same command again finishes the
    work.
    """
    entries = [change for change in changes if _is_entry(change) and change.action is not Action.KEEP]
    for change in reversed([entry for entry in entries if entry.action is Action.DELETE]):
        consul.delete_entry(change.kind, change.name, change.index)
        report(_applied(change))
    for change in entries:
        if change.body is not None and change.kind != ROUTE_KIND:
            consul.write_entry(change.body, change.index)
            report(_applied(change))


def write_routes(changes: Iterable[Change], consul: ConsulClient, report: Report) -> None:
    """Write the gateway's routes among ``changes``, after everything that they lead to.

    Consul's controller writes its verdict into a route, which moves the route's index: when the stored one is still
    ours, a moved index is taken up and no conflict. Raises ConflictError when somebody else's route has that name.
    """
    for change in changes:
        if change.kind != ROUTE_KIND or change.body is None or change.action is Action.KEEP:
            continue
        for remaining in reversed(range(_VERDICT_TRIES)):
            stored = consul.read_entry(change.kind, change.name)
            ours = stored is None or _is_ours(stored)
            current = stored.modify_index if stored else 0
            try:
                consul.write_entry(change.body, current if ours else change.index)
            except ConflictError:
                if not ours or remaining == 0:
                    raise
            else:
                break
        report(_applied(change))


def nudge_route(service: str, consul: ConsulClient) -> bool:
    """Make the gateway see the service behind a route again; False when nothing can be done now.

    Consul (1.20) forgets the service behind a route that was taken away, and when the route comes back it answers 503
    until the service's own routing changes. So the splitter is deleted and made anew: meanwhile traffic goes to the
    resolver's default, which is its only part. Raises ConflictError when somebody else changes the splitter.
    """
    stored = consul.read_entry(_SPLITTER, service)
    if stored is None or len(stored.body.get("Splits") or ()) != 1 or not _is_ours(stored):
        return False
    consul.delete_entry(_SPLITTER, service, stored.modify_index)
    consul.write_entry(stored.body, 0)
    return True


def register(change: Change, nomad: NomadClient, consul: ConsulClient, report: Report) -> Registration:
    """Register the job of a change, enforcing the index that was read (0: the job must not exist), and note it.

    Raises ConflictError when somebody registered another version meanwhile.
    """
    if change.body is None:
        raise ValueError(f"the change of {change.name} carries no job")
    registration = nomad.register_job(change.body, change.index)
    report(_applied(change))
    note_registration(nomad, consul, change.name, registration)
    return registration


def _is_entry(change: Change) -> bool:
    """Jobs are Nomad's, and what a service may read is Vault's."""
    return change.kind != "job" and not change.kind.startswith("vault ")


def _is_ours(entry: StoredEntry) -> bool:
    return (entry.body.get("Meta") or {}).get(OWNER_KEY) == OWNER


def _applied(change: Change) -> Event:
    verb = _VERBS.get(change.action, "registered again")
    return Event(
        "apply",
        f"{change.kind} {change.name} {verb}",
        {"kind": change.kind, "name": change.name, "action": str(change.action)},
    )
