"""Plan -> servers: each change written by compare-and-set, in the order that never leaves traffic without a target."""

from __future__ import annotations

from collections.abc import Iterable

from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Registration
from hms_nomad.plan.change import Action, Change

_VERBS = {Action.CREATE: "created", Action.UPDATE: "updated", Action.DELETE: "deleted"}


def write_entries(changes: Iterable[Change], consul: ConsulClient, report: Report) -> None:
    """Write the config entries among ``changes``: removals from the outermost inwards, then the rest in the given
    order.

    Raises ConflictError when an entry changed since it was read, and the other errors of
    ``hms_nomad.clients.errors``. Entries that were written before an error stay; the same command again finishes the
    work.
    """
    entries = [change for change in changes if change.kind != "job" and change.action is not Action.KEEP]
    for change in reversed([entry for entry in entries if entry.action is Action.DELETE]):
        consul.delete_entry(change.kind, change.name, change.index)
        report(_applied(change))
    for change in entries:
        if change.body is not None:
            consul.write_entry(change.body, change.index)
            report(_applied(change))


def register(change: Change, nomad: NomadClient, report: Report) -> Registration:
    """Register the job of a change, enforcing the index that was read (0: the job must not exist).

    Raises ConflictError when somebody registered another version meanwhile.
    """
    if change.body is None:
        raise ValueError(f"the change of {change.name} carries no job")
    registration = nomad.register_job(change.body, change.index)
    report(_applied(change))
    return registration


def _applied(change: Change) -> Event:
    verb = _VERBS.get(change.action, "registered again")
    return Event(
        "apply",
        f"{change.kind} {change.name} {verb}",
        {"kind": change.kind, "name": change.name, "action": str(change.action)},
    )
