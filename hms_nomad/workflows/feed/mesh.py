"""The audit trail and the certificates of the mesh -> the feed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hms_nomad.apply.audit import ConsulTrail
from hms_nomad.workflows.feed.events import Desk, Item, change_event, rfc3339
from hms_nomad.workflows.mesh.overview import SidecarState, mesh_status
from hms_nomad.workflows.operating.audit import trail_of
from hms_nomad.workflows.session import Session

_WAIT_SECONDS = 60.0
_FILE_SECONDS = 0.5
_CERTIFICATE_SECONDS = 60.0
_LATE = 0.1
"""The part of its life that a certificate has left when it counts as late: Consul renews long before."""

_CHANGE = "change"
_AUTHORITY = "authority"
_LOOKED = "looked/certificates"


def tell_changes(session: Session, desk: Desk) -> None:
    """Tell the records of the audit trail. Raises AuditError and the errors of ``hms_nomad.clients.errors``."""
    trail = trail_of(session)
    if trail is None:
        return
    known = desk.positions.get(_CHANGE)
    seen, index = int(known or 0), 0
    while not desk.stop.is_set():
        if isinstance(trail, ConsulTrail):
            index = session.consul.kv_wait(trail.head, index, _WAIT_SECONDS if desk.follow else 0.0).index
        for record in trail.records():
            if record.number > seen:
                seen = record.number
                wanted = known is not None or record.time >= desk.since
                desk.emit(Item(_CHANGE, seen, change_event(record) if wanted else None))
        if not desk.follow:
            return
        if not isinstance(trail, ConsulTrail):
            # A file announces nothing that the standard library could wait for.
            desk.stop.wait(_FILE_SECONDS)


def tell_certificates(session: Session, desk: Desk) -> None:
    """Tell of certificates that sidecars show for the first time, or too late, and of new roots of the mesh.

    Nothing announces a new certificate, so each sidecar is asked once a minute. Raises the errors of
    ``hms_nomad.clients.errors``.
    """
    known = {key: value for key, value in desk.positions.items() if key.startswith("certificate/")}
    root, looked = desk.positions.get(_AUTHORITY), desk.positions.get(_LOOKED)
    while not desk.stop.is_set():
        now = time.time()
        if looked is not None and now - float(looked) > 3 * _CERTIFICATE_SECONDS:
            reason = f"not looked at since {rfc3339(float(looked))}: what began and ended meanwhile is not known"
            desk.emit(Item(_LOOKED, now, desk.gap("certificate", rfc3339(now), "", reason)))
        active = next((one for one in session.consul.ca_roots() if one.active), None)
        if active is not None and active.id != root:
            data = {"id": active.id, "name": active.name, "not_after": active.not_after, "previous": root}
            word, id_ = "authority.active", f"authority/{active.id}"
            desk.emit(Item(_AUTHORITY, active.id, desk.event(word, id_, "", rfc3339(now), data)))
            root = active.id
        states = mesh_status(session)
        if states and not any(state.serial for state in states):
            desk.warn(f"no certificate can be read: {states[0].problems[0]}")
        for state in states:
            for item in _certificate(desk, state, known, begun=looked is not None):
                known[item.key] = item.position
                desk.emit(item)
        for gone in known.keys() - {_key(state) for state in states}:
            del known[gone]
            desk.emit(Item(gone, None))
        desk.emit(Item(_LOOKED, now))
        looked = now
        if not desk.follow:
            return
        desk.stop.wait(_CERTIFICATE_SECONDS)


def _key(state: SidecarState) -> str:
    return f"certificate/{state.service}/{state.allocation}"


def _certificate(desk: Desk, state: SidecarState, known: dict[str, Any], *, begun: bool) -> Iterable[Item]:
    """What is new of one sidecar's certificate: a position is its serial, and whether its lateness was told."""
    if not state.serial or state.issued is None or state.expires is None:
        return
    key, now = _key(state), datetime.now(state.expires.tzinfo)
    serial, told = known.get(key) or ("", False)
    data = {
        "identity": state.identity,
        "serial": state.serial,
        "not_before": rfc3339(state.issued.timestamp()),
        "not_after": rfc3339(state.expires.timestamp()),
        "allocation": state.allocation,
        "node": state.node,
        "release": state.release,
    }
    if serial != state.serial:
        told = False
        wanted = begun or bool(serial) or state.issued.timestamp() >= desk.since
        word = "certificate.renewed" if serial else "certificate.issued"
        facts = {**data, "previous": serial} if serial else data
        id_ = f"{key}/{state.serial}"
        event = desk.event(word, id_, state.service, rfc3339(state.issued.timestamp()), facts)
        yield Item(key, [state.serial, told], event if wanted else None)
    if not told and (state.expires - now) < _LATE * (state.expires - state.issued):
        id_ = f"{key}/{state.serial}/late"
        event = desk.event("certificate.late", id_, state.service, rfc3339(now.timestamp()), data)
        yield Item(key, [state.serial, True], event)
