"""Desired against observed -> Plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hms_nomad.compile.canary import canary_name
from hms_nomad.compile.desired import OWNER, OWNER_KEY, Desired
from hms_nomad.compile.http_routes import ROUTE_KIND, routes_by_owner
from hms_nomad.compile.job import with_count
from hms_nomad.compile.scaling import with_hold
from hms_nomad.plan.change import Action, Change, FieldChange, ForeignObjectError, OtherKindError, Plan
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.plan.normal import ATTEMPT_KEY, entry_differences, job_differences
from hms_nomad.plan.observed import Observed, ObservedEntry, ObservedJob

_BATCH = "batch"
OWN_KINDS = ("service-defaults", "service-resolver", "service-splitter", "service-router", ROUTE_KIND)
"""Kinds of config entries that belong to a service by their names, in the order in which Consul accepts them."""

_SECOND_KINDS = ("service-defaults", "service-resolver")


def own_keys(service: str) -> tuple[tuple[str, str], ...]:
    """Kind and name of every config entry that may belong to a service, but for its http-routes, in the order in which
    Consul accepts them.
    """
    inner = ((kind, service) for kind in OWN_KINDS if kind != ROUTE_KIND)
    return (*inner, *((kind, canary_name(service)) for kind in _SECOND_KINDS))


def own_routes(service: str, observed: Observed) -> tuple[tuple[str, str], ...]:
    """Kind and name of every stored http-route that belongs to a service by its name, be it ours or not."""
    names = observed.routes
    if names is None:
        names = routes_by_owner(name for kind, name in observed.entries if kind == ROUTE_KIND).get(service, ())
    return tuple((ROUTE_KIND, name) for name in names)


def make_plan(desired: Desired, observed: Observed) -> Plan:
    """What must change so that the servers hold what the spec stands for.

    Raises ForeignObjectError when the job or an entry of that name exists without our mark, OtherKindError when the
    job is of another kind.
    """
    _refuse_foreign(desired, observed)
    _refuse_other_kind(desired, observed)
    job = _job_change(desired, observed.job)
    entries = entry_changes(desired, observed)
    inner = [change for change in entries if change.kind != ROUTE_KIND]
    routes = [change for change in entries if change.kind == ROUTE_KIND]
    running = observed.job is not None and not observed.job.stopped
    return Plan(
        service=desired.service,
        release_before=observed.job.service_meta.get("release") if observed.job and running else None,
        release_after=desired.release,
        digest=desired.digest,
        changes=(*inner, job, *routes),
        unfinished=job.action is Action.KEEP and observed.job is not None and not observed.job.settled,
        under_way=job.action is Action.KEEP and observed.job is not None and observed.job.under_way,
        images=desired.images,
    )


def entry_changes(desired: Desired, observed: Observed) -> tuple[Change, ...]:
    """The same for the config entries alone, kept ones included, in the order in which Consul accepts them."""
    return (*_own_entry_changes(desired, observed), *_intention_changes(desired, observed))


def change_of(kind: str, name: str, body: Mapping[str, Any], stored: ObservedEntry | None) -> Change:
    """The change that writes ``body`` over a stored entry; it keeps what means the same already."""
    fields = entry_differences(stored.body if stored else None, body)
    return _change(kind, name, fields, body, stored)


def deletion_of(kind: str, name: str, stored: ObservedEntry) -> Change:
    """The change that takes a stored entry away."""
    return Change(kind, name, Action.DELETE, entry_differences(stored.body, {}), None, stored.modify_index)


def _refuse_foreign(desired: Desired, observed: Observed) -> None:
    if observed.job and not observed.job.stopped and observed.job.meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError("job", desired.service)
    for entry in desired.entries:
        stored = observed.entries.get((entry.kind, entry.name))
        if stored and (stored.body.get("Meta") or {}).get(OWNER_KEY) != OWNER:
            raise ForeignObjectError(entry.kind, entry.name)


def _refuse_other_kind(desired: Desired, observed: Observed) -> None:
    """Nomad takes a job of another type, with or without a schedule, for an error that names no way out."""
    if observed.job is not None and desired.job:
        stored, wanted = _kind_of(observed.job.body), _kind_of(desired.job)
        if stored != wanted:
            raise OtherKindError(desired.service, stored, wanted)


def _kind_of(job: Mapping[str, Any]) -> str:
    if job.get("Type", "service") != _BATCH:
        return f"a {job.get('Type', 'service')}"
    return "a job with a schedule" if job.get("Periodic") else "a job without a schedule"


def _own_entry_changes(desired: Desired, observed: Observed) -> list[Change]:
    wanted = {(entry.kind, entry.name): entry for entry in desired.entries}
    routes = [key for key in wanted if key[0] == ROUTE_KIND]
    gone = [key for key in own_routes(desired.service, observed) if key not in wanted]
    changes = []
    # What takes a route's place comes before it goes.
    for key in (*own_keys(desired.service), *routes, *gone):
        stored = observed.entries.get(key)
        if key in wanted:
            changes.append(change_of(*key, wanted[key].body, stored))
        elif stored and (stored.body.get("Meta") or {}).get(OWNER_KEY) == OWNER:
            changes.append(deletion_of(*key, stored))
    return changes


def _intention_changes(desired: Desired, observed: Observed) -> list[Change]:
    stored, callees = observed.intentions, observed.callees
    # With many services, only those that this one has to do with: the time is to grow with their number, no faster.
    names = {
        desired.service,
        *(one.destination for one in desired.intentions),
        *(stored if callees is None else callees),
    }
    routers = {name: entry.body for name in names if (entry := observed.entries.get(("service-router", name)))}
    bodies = {name: entry.body for name in names if (entry := stored.get(name))}
    merged = merged_intentions(desired, bodies, routers, callees)
    changes = []
    for destination in sorted(merged):
        body, before = merged[destination], stored.get(destination)
        if body is not None:
            changes.append(change_of(INTENTIONS, destination, body, before))
        elif before is not None:
            changes.append(deletion_of(INTENTIONS, destination, before))
    return changes


def _change(
    kind: str,
    name: str,
    fields: tuple[FieldChange, ...],
    body: Mapping[str, Any],
    stored: ObservedEntry | None,
) -> Change:
    action = Action.CREATE if stored is None else Action.UPDATE if fields else Action.KEEP
    return Change(kind, name, action, fields, body, stored.modify_index if stored else 0)


def _job_change(desired: Desired, stored: ObservedJob | None) -> Change:
    body = job_to_register(desired, stored)
    if stored is None:
        return Change("job", desired.service, Action.CREATE, job_differences({}, body), body, 0)
    fields = job_differences(stored.body, body)
    if stored.stopped:
        return Change("job", desired.service, Action.CREATE, fields, body, stored.modify_index)
    same = stored.service_meta.get("digest") == desired.digest and not fields
    bounds_hold = desired.job["Type"] == _BATCH or _clamped(desired, stored.count) == stored.count
    action = Action.KEEP if same and bounds_hold else Action.UPDATE
    return Change("job", desired.service, action, fields, body, stored.modify_index)


def job_to_register(desired: Desired, stored: ObservedJob | None) -> dict[str, Any]:
    """The desired job with the count that runs now, brought within the spec's bounds.

    A plain register would reset the count that the autoscaler chose. The canaries equal the count, so that capacity
    never falls below what it was; Nomad makes none where nothing is replaced. A batch job has one instance.
    """
    if desired.job["Type"] == _BATCH:
        return dict(desired.job)
    group = desired.job["TaskGroups"][0]
    if stored is None or stored.stopped:
        return with_count(desired.job, group["Count"], group["Count"])
    count = _clamped(desired, stored.count)
    return with_hold(with_count(desired.job, count, count), stored.body)


def with_attempt(change: Change, stored: ObservedJob | None) -> Change:
    """The same registration as one more attempt: Nomad deploys no equal job again after its deployment failed."""
    if change.body is None or stored is None:
        return change
    group = change.body["TaskGroups"][0]
    task = group["Tasks"][0]
    again = {**task, "Meta": {**task.get("Meta", {}), ATTEMPT_KEY: str(stored.version + 1)}}
    body = {**change.body, "TaskGroups": [{**group, "Tasks": [again, *group["Tasks"][1:]]}]}
    return replace(change, action=Action.UPDATE, body=body)


def promoting_itself(change: Change) -> Change:
    """The same registration for a release that runs already: should Nomad replace instances after all, nobody has to
    promote the new ones.

    It replaces them where somebody edited the job by hand, and for one more attempt. Old and new instances are of one
    release, so no traffic can be moved between them.
    """
    if change.body is None or change.index == 0:
        return change
    group = change.body["TaskGroups"][0]
    update = group.get("Update") or {}
    if not update.get("Canary"):
        return change
    update = {**update, "AutoPromote": True}
    return replace(change, body={**change.body, "TaskGroups": [{**group, "Update": update}]})


def _clamped(desired: Desired, count: int) -> int:
    scaling = desired.job["TaskGroups"][0]["Scaling"]
    return max(int(scaling["Min"]), min(int(scaling["Max"]), count))
