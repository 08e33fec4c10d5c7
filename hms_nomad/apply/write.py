"""Plan -> servers: each change written by compare-and-set, in the order that never leaves traffic without a target."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.registered import note_registration
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvStep, StoredEntry
from hms_nomad.clients.errors import ConflictError, UnavailableError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Registration
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.plan.change import Action, Change
from hms_nomad.plan.intentions import KIND as INTENTIONS

_SPLITTER = "service-splitter"
_VERDICT_TRIES = 5
_VERDICT_SECONDS = 15.0
_WAIT_SECONDS = 5.0
_NO_GATEWAY = "GatewayNotFound"
_VERBS = {Action.CREATE: "created", Action.UPDATE: "updated", Action.DELETE: "deleted"}


def write_entries(
    changes: Iterable[Change],
    consul: ConsulClient,
    report: Report,
    before_intentions: Callable[[], None] | None = None,
) -> None:
    """Write the config entries among ``changes``: removals from the outermost inwards, then the rest in the given
    order. Routes of the gateway are only removed here, where none takes their place: ``write_routes`` opens them once
    the service runs. ``before_intentions`` is called before the first intentions are written, where there are any; who
    gives it has a transaction to come for what is noted after it.

    Raises ConflictError when an entry changed since it was read, and the other errors of
    ``hms_nomad.clients.errors``. Entries that were written before an error stay; the same command again finishes the
    work.
    """
    entries = [change for change in changes if _is_entry(change) and change.action is not Action.KEEP]
    replaced = any(_opens(change) for change in entries)
    for change in reversed([entry for entry in entries if entry.action is Action.DELETE]):
        if change.kind == ROUTE_KIND:
            if not replaced:
                _write_route(change, consul, report)
            continue
        consul.delete_entry(change.kind, change.name, change.index)
        report(_applied(change))
    written = [change for change in entries if change.body is not None and change.kind != ROUTE_KIND]
    noted = [change for change in written if before_intentions is None or change.kind != INTENTIONS]
    for change in written:
        if before_intentions is not None and change.kind == INTENTIONS:
            before_intentions()
            before_intentions = None
        consul.write_entry(change.body or {}, change.index)
        report(replace(_applied(change), more=not noted or change is not noted[-1]))


def write_routes(changes: Iterable[Change], consul: ConsulClient, report: Report) -> None:
    """Write the gateway's routes among ``changes``, after everything that they lead to, in the given order; those whose
    place is taken go once Consul has bound what takes it, so that the gateway answers all the time.

    Consul's controller writes its verdict into a route, which moves the route's index: when the stored one is still
    ours, a moved index is taken up and no conflict. Raises ConflictError when somebody else's route has that name,
    UnavailableError when Consul does not bind one; those before it stay then.
    """
    routes = [change for change in changes if change.kind == ROUTE_KIND and change.action is not Action.KEEP]
    write_in_order(routes if any(_opens(change) for change in routes) else (), consul, report)


def write_in_order(changes: Iterable[Change], consul: ConsulClient, report: Report) -> None:
    """Write config entries one by one in their order, the gateway's routes among them. Raises as ``write_routes``."""
    opened: list[str] = []
    for change in changes:
        if change.kind != ROUTE_KIND or change.action is Action.KEEP:
            write_entries((change,), consul, report)
            continue
        while change.body is None and opened:
            _await_verdict(opened.pop(), consul)
        _write_route(change, consul, report)
        if change.body is not None:
            opened.append(change.name)


def route_verdicts(name: str, consul: ConsulClient, deadline: float) -> Iterator[StoredEntry | None]:
    """A route of the gateway with what Consul says of it, now and whenever that may have changed; None while there is
    no such route.

    Ends once ``deadline`` (a value of ``time.monotonic()``) is over, and not before the first. Raises the errors of
    ``hms_nomad.clients.errors``.
    """
    index = 0
    while True:
        answer = consul.watch_entry(ROUTE_KIND, name, index, _WAIT_SECONDS)
        yield answer.value
        if time.monotonic() > deadline:
            return
        index = answer.index


def _opens(change: Change) -> bool:
    return change.kind == ROUTE_KIND and change.body is not None and change.action is not Action.KEEP


def _write_route(change: Change, consul: ConsulClient, report: Report) -> None:
    """Open or close one route, past the verdicts that Consul writes into it meanwhile."""
    for remaining in reversed(range(_VERDICT_TRIES)):
        stored = consul.read_entry(change.kind, change.name)
        if stored is None and change.body is None:
            break
        ours = stored is None or _is_ours(stored)
        current = stored.modify_index if stored else 0
        index = current if ours else change.index
        try:
            if change.body is None:
                consul.delete_entry(change.kind, change.name, index)
            else:
                consul.write_entry(change.body, index)
        except ConflictError:
            if not ours or remaining == 0:
                raise
        else:
            break
    report(_applied(change))


def _await_verdict(name: str, consul: ConsulClient) -> None:
    """Until Consul has bound a route to its gateway; where there is no gateway, nobody asks for any route."""
    why = ""
    for route in route_verdicts(name, consul, time.monotonic() + _VERDICT_SECONDS):
        said = [one for one in route.conditions if one.type == "Bound"] if route else []
        if route is None or any(one.true or one.reason == _NO_GATEWAY for one in said):
            return
        why = "; ".join(one.message for one in said)
    text = f"Consul does not bind the route {name} to its gateway, so those before it stay: {why or 'it says nothing'}"
    raise UnavailableError("consul", f"await {ROUTE_KIND} {name}", consul.address, text, transient=True)


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


def register(
    change: Change,
    nomad: NomadClient,
    consul: ConsulClient,
    report: Report,
    later: Callable[[KvStep], None] | None = None,
) -> Registration:
    """Register the job of a change, enforcing the index that was read (0: the job must not exist), and note it.

    ``later`` gets the note's step, for a transaction that comes anyway; without it the note is kept at once. Raises
    ConflictError when somebody registered another version meanwhile.
    """
    if change.body is None:
        raise ValueError(f"the change of {change.name} carries no job")
    registration = nomad.register_job(change.body, change.index)
    # Who has a transaction to come ends with this change.
    report(replace(_applied(change), more=later is not None))
    note_registration(nomad, consul, change, registration, later)
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
