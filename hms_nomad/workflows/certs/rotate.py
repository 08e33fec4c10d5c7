"""A new root or intermediate certificate for the mesh -> every sidecar with a new leaf; calls go on meanwhile."""

from __future__ import annotations

import time
from enum import StrEnum

from msgspec import Struct

from hms_nomad.apply.authority import Servers, forget_mount, renew_intermediate, renew_root
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.consul_types import CaRoot
from hms_nomad.clients.errors import DeadlineExceededError, ServerError, UnavailableError
from hms_nomad.workflows.certs.overview import active_root
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.mesh.overview import SidecarState, mesh_status
from hms_nomad.workflows.session import Session

LOCK = "hms-certs"
"""Under which name the mesh's authority is locked and recorded, as a service is under its own."""

_PAUSE_SECONDS = 1.0


class Level(StrEnum):
    """What is made anew: all that is below it comes with it."""

    INTERMEDIATE = "intermediate"
    ROOT = "root"


class Rotation(Struct, frozen=True):
    """What a rotation came to: the name of the active root and the id of the key that signs leaves now.

    ``leaves`` are sidecars that show a leaf of the new authority, ``unread`` those that did not answer.
    """

    level: Level
    root: str
    signing_key_id: str
    leaves: int
    unread: tuple[str, ...]


def rotate(session: Session, level: Level, timeout: float, report: Report) -> Rotation:
    """Renew the mesh's authority from ``level`` down, and wait up to ``timeout`` seconds until sidecars show it.

    A leaf alone cannot be renewed: Consul keeps one until its time comes or its signer changes. Raises
    DeadlineExceededError naming what was missing, InvalidRequestError for an authority of somebody else, and the errors
    of ``hms_nomad.clients.errors``.
    """
    deadline = time.monotonic() + timeout
    servers = Servers(session.nomad, session.consul, session.vault)
    before = _active(session)
    old_mount = ""
    with guarded(session, LOCK, Intent(f"certs rotate {level}"), report) as guard:
        if level is Level.ROOT:
            renew_root(servers)
        else:
            old_mount = renew_intermediate(servers)
        guard.report(Event("apply", f"made a new {level} certificate", {"level": str(level)}))
        guard.concluded("done")
    if level is Level.INTERMEDIATE:
        _new_leader(session, report)
    root = _renewed(session, before, deadline)
    report(Event("step", "waiting until agents have new leaves; they spread that over half a minute", {}))
    leaves, unread = _followed(session, root.signing_key_id, deadline)
    if old_mount:
        with guarded(session, LOCK, Intent(f"certs rotate {level}"), report) as guard:
            forget_mount(servers, old_mount)
            guard.report(Event("apply", f"removed the earlier intermediate certificate at {old_mount}", {}))
            guard.concluded("done")
    return Rotation(level, root.name, root.signing_key_id, leaves, unread)


def _active(session: Session) -> CaRoot:
    root = active_root(session.consul.ca_roots())
    if root is None:
        raise UnavailableError(
            "consul", "read the mesh's root certificates", session.consul.address, "there is no active one"
        )
    return root


def _new_leader(session: Session, report: Report) -> None:
    """Consul replaces leaves of an earlier intermediate certificate once it has elected a leader."""
    if len(session.consul.servers()) > 1:
        session.consul.transfer_leadership()
        return
    words = "restart Consul's server now: with a single one nothing else makes Consul replace the leaves"
    report(Event("warning", words, {}))


def _renewed(session: Session, before: CaRoot, deadline: float) -> CaRoot:
    while True:
        try:
            root = active_root(session.consul.ca_roots())
        except UnavailableError:
            root = None
        if root is not None and root.signing_key_id != before.signing_key_id:
            return root
        if time.monotonic() > deadline:
            raise DeadlineExceededError("Consul signs by the certificate of before; restart its leader")
        time.sleep(_PAUSE_SECONDS)


def _followed(session: Session, signer: str, deadline: float) -> tuple[int, tuple[str, ...]]:
    """How many sidecars show leaves of the new authority once all that answer do, and those that do not answer."""
    while True:
        try:
            found = mesh_status(session)
        except ServerError:
            found = None
        if found is not None:
            late = [one for one in found if one.signer not in ("", signer)]
            if not late:
                unread = tuple(_named(one) for one in found if not one.signer)
                return len(found) - len(unread), unread
        if time.monotonic() > deadline:
            missing = ", ".join(_named(one) for one in late) if found is not None else "Consul does not answer"
            raise DeadlineExceededError(f"these sidecars show leaves of the earlier authority: {missing}")
        # Nothing tells when an agent has fetched another leaf.
        time.sleep(_PAUSE_SECONDS)


def _named(one: SidecarState) -> str:
    return f"{one.service} {one.allocation[:8] or one.address}"
