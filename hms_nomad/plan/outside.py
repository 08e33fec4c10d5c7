"""Desired against observed for a service outside the mesh: its entries, its registration, its part of the egress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.compile.desired import OWNER, OWNER_KEY, Desired, Outside
from hms_nomad.compile.proxy_job import EGRESS_KIND
from hms_nomad.plan.change import Action, Change, FieldChange, ForeignObjectError, Plan
from hms_nomad.plan.diff import change_of, entry_changes
from hms_nomad.plan.observed import Observed, ObservedEntry

REGISTRATION = "catalog-registration"
"""Kind of the change that registers a service at a place where no agent is."""


class ObservedOutside(Struct, frozen=True):
    """What the servers hold: the registration's address, port and meta by node, and the egress's entry.

    ``egress`` is None where the egress is not installed; its ``body`` names all external services.
    """

    registered: Mapping[str, tuple[str, int, Mapping[str, str]]]
    egress: ObservedEntry | None


def plan_outside(desired: Desired, observed: Observed, outside: ObservedOutside) -> Plan:
    """What must change so that the mesh reaches a service outside of it.

    Raises ForeignObjectError when something of that name is there that is not ours.
    """
    wanted = desired.outside
    if wanted is None:
        raise ValueError(f"{desired.service} is not outside the mesh")
    _refuse_foreign(desired, observed, outside)
    changes = (
        *entry_changes(desired, observed),
        _registration(desired.service, wanted, outside),
        _linked(wanted, outside.egress),
    )
    return Plan(service=desired.service, release_before=None, release_after="", digest=desired.digest, changes=changes)


def without_link(body: Mapping[str, Any], service: str) -> dict[str, Any]:
    """The egress's entry without one service."""
    return {**body, "Services": [link for link in body.get("Services") or () if link["Name"] != service]}


def _refuse_foreign(desired: Desired, observed: Observed, outside: ObservedOutside) -> None:
    if observed.job is not None and not observed.job.stopped:
        raise ForeignObjectError("job", desired.service)
    for entry in desired.entries:
        stored = observed.entries.get((entry.kind, entry.name))
        if stored and (stored.body.get("Meta") or {}).get(OWNER_KEY) != OWNER:
            raise ForeignObjectError(entry.kind, entry.name)
    for node, (_, _, meta) in outside.registered.items():
        if desired.outside is None or node != desired.outside.node or meta.get(OWNER_KEY) != OWNER:
            raise ForeignObjectError("registration", desired.service)
    if outside.egress and (outside.egress.body.get("Meta") or {}).get(OWNER_KEY) != OWNER:
        raise ForeignObjectError(EGRESS_KIND, desired.outside.egress if desired.outside else "")


def _registration(service: str, wanted: Outside, outside: ObservedOutside) -> Change:
    before = outside.registered.get(wanted.node)
    after = {"Address": wanted.address, "Port": wanted.port, "Meta": dict(wanted.meta)}
    stored = {"Address": before[0], "Port": before[1], "Meta": dict(before[2])} if before else {}
    fields = tuple(FieldChange(key, stored.get(key), value) for key, value in after.items() if stored.get(key) != value)
    action = Action.CREATE if before is None else Action.UPDATE if fields else Action.KEEP
    return Change(REGISTRATION, service, action, fields, {"Node": wanted.node, **after}, 0)


def _linked(wanted: Outside, stored: ObservedEntry | None) -> Change:
    base = stored.body if stored else {"Kind": EGRESS_KIND, "Name": wanted.egress, "Meta": {OWNER_KEY: OWNER}}
    others = without_link(base, str(wanted.link["Name"]))
    links = sorted([*others["Services"], dict(wanted.link)], key=lambda link: str(link["Name"]))
    return change_of(EGRESS_KIND, wanted.egress, {**others, "Services": links}, stored)
