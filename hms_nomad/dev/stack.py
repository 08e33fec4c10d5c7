"""The stack on one machine: ``up``, ``down`` and ``status``, behind ``hms-nomad dev``."""

from __future__ import annotations

from hms_nomad.apply.progress import Report
from hms_nomad.dev.bring_up import bring_up
from hms_nomad.dev.network import Slot
from hms_nomad.dev.settings import StackSettings
from hms_nomad.dev.state import load, locked
from hms_nomad.dev.status import ServerState, ServerStatus, StackState, StackStatus, overall, server_status
from hms_nomad.dev.take_down import DownResult, take_down

__all__ = [
    "DownResult",
    "ServerState",
    "ServerStatus",
    "StackSettings",
    "StackState",
    "StackStatus",
    "down",
    "status",
    "up",
]


def up(settings: StackSettings, report: Report) -> StackStatus:
    """Bring the stack up and write its context; where it runs already, start again only what died.

    ``changed`` of the answer says whether a server was started. Raises the errors of ``hms_nomad.dev.errors``,
    ``hms_nomad.clients.errors`` and ``hms_nomad.platform.context``.
    """
    with locked(settings.state_dir, settings.name):
        _, changed = bring_up(settings, report)
        return _status(settings, changed=changed)


def down(settings: StackSettings, report: Report) -> DownResult:
    """End everything that the stack runs and remove everything that it made; without a stack nothing happens.

    Raises the errors of ``hms_nomad.dev.errors``.
    """
    with locked(settings.state_dir, settings.name):
        return take_down(settings, report)


def status(settings: StackSettings) -> StackStatus:
    """The stack as it is now. Raises StackError for a state that cannot be read."""
    return _status(settings, changed=False)


def _status(settings: StackSettings, *, changed: bool) -> StackStatus:
    record = load(settings.state_dir)
    if record is None:
        return StackStatus(settings.name, StackState.DOWN, settings.state_dir)
    servers = tuple(server_status(server) for server in record.servers.values())
    slot = Slot(record.slot) if record.slot is not None else None
    return StackStatus(
        name=record.name,
        state=overall(record, servers),
        state_dir=settings.state_dir,
        servers=servers,
        context=record.context,
        interface=slot.interface if slot else "",
        address=slot.address if slot else "",
        sidecar=record.sidecar,
        docker=record.docker,
        secure=record.secure,
        nomad=record.nomad or "real",
        changed=changed,
    )
