"""Fleets: which services a directory deployed, so that those that left it can be found; only what we own is touched.

The members stand in Consul's store by the fleet's name, with the place that deploys it. Another place of the same name
is another fleet: it may neither prune this one nor be mistaken for it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from hms_nomad.clients.errors import ConflictError
from hms_nomad.clients.git import git
from hms_nomad.plan.change import OtherFleetError
from hms_nomad.workflows.fleet import service_names
from hms_nomad.workflows.session import Session

_SCHEMA = 1
_TRIES = 5


class FleetId(Struct, frozen=True):
    """A fleet: its name, and the place that deploys it ("" when the name was chosen by hand and holds anywhere)."""

    name: str
    place: str = ""


def fleet_of(paths: Iterable[str], name: str | None = None) -> FleetId | None:
    """The fleet of a command line: the chosen ``name``, else that of its only directory; None for single files."""
    if name is not None:
        return FleetId(name)
    found = list(paths)
    if len(found) != 1 or not Path(found[0]).is_dir():
        return None
    directory = Path(found[0]).resolve()
    return FleetId(directory.name or "root", _place(directory))


def leavers(session: Session, fleet: FleetId, names: Iterable[str]) -> tuple[str, ...]:
    """Services of a fleet that are not among ``names`` any more, as far as a job of ours still runs.

    Raises OtherFleetError, and the errors of ``hms_nomad.clients.errors``.
    """
    members, place, _ = _read(session, fleet.name)
    if fleet.place and place and place != fleet.place:
        raise OtherFleetError(
            f"a fleet {fleet.name!r} is deployed from {place}, and this is {fleet.place}; name this one with --fleet"
        )
    return tuple(sorted((members - set(names)) & set(service_names(session))))


def remember(session: Session, fleet: FleetId, names: Iterable[str], gone: Iterable[str] = ()) -> bool:
    """Add services to a fleet and take those away that are ``gone``; False when the name is another place's.

    Raises ConflictError when others keep changing it.
    """
    for _ in range(_TRIES):
        members, place, index = _read(session, fleet.name)
        if fleet.place and place and place != fleet.place:
            return False
        now = (members | set(names)) - set(gone)
        if now == members and (place or not fleet.place):
            return True
        value = {"schema": _SCHEMA, "place": place or fleet.place, "services": sorted(now)}
        if session.consul.kv_put(_key(session, fleet.name), json.dumps(value).encode(), modify_index=index):
            return True
    where = f"write fleet {fleet.name}"
    raise ConflictError("consul", where, session.consul.address, "others keep changing it")


def _read(session: Session, name: str) -> tuple[set[str], str, int]:
    pair = session.consul.kv_get(_key(session, name))
    if pair is None:
        return set(), "", 0
    try:
        body = json.loads(pair.value)
        return {str(one) for one in body["services"]}, str(body["place"]), pair.modify_index
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OtherFleetError(f"what is kept of the fleet {name!r} cannot be read: somebody else wrote it") from None


def _key(session: Session, name: str) -> str:
    return f"hms-nomad/fleets/{session.platform.namespace}/{name}"


def _place(directory: Path) -> str:
    """Where a directory is, the same for every checkout of a repository: its remote and the path in it."""
    remote, top = (
        git(directory, "config", "--get", "remote.origin.url"),
        git(directory, "rev-parse", "--show-toplevel"),
    )
    if remote and top:
        return f"{remote.rpartition('@')[2]}:{directory.relative_to(top)}"
    return f"{socket.gethostname()}:{directory}"
