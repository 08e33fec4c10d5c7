"""``events``: the audit trail as CloudEvents, what was and what comes, for the engines that watch over changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from hms_nomad.apply.audit import ConsulTrail, Record, record_facts
from hms_nomad.workflows.audit import trail_of
from hms_nomad.workflows.session import Session

_WAIT_SECONDS = 60.0
_FILE_SECONDS = 0.5


def events(session: Session, *, follow: bool, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """The changes since a time (seconds since 1970), oldest first, and with ``follow`` each new one as it comes.

    Raises AuditError and the errors of ``hms_nomad.clients.errors``.
    """
    trail = trail_of(session)
    if trail is None:
        return
    seen, index = 0, 0
    while True:
        if isinstance(trail, ConsulTrail):
            index = session.consul.kv_wait(trail.head, index, _WAIT_SECONDS if follow else 0.0).index
        for record in trail.records():
            if record.number > seen:
                seen = record.number
                if record.time >= since:
                    yield cloud_event(record)
        if not follow:
            return
        if not isinstance(trail, ConsulTrail):
            # A file announces nothing that the standard library could wait for.
            threading.Event().wait(_FILE_SECONDS)


def cloud_event(record: Record) -> dict[str, Any]:
    """A change as a CloudEvent (https://github.com/cloudevents/spec, version 1.0)."""
    return {
        "specversion": "1.0",
        "id": record.hash,
        "source": f"/hms-nomad/{record.platform}/{record.namespace}",
        "type": f"hms-nomad.{record.command.replace(' ', '.')}.{record.result}",
        "subject": record.service,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.time)),
        "datacontenttype": "application/json",
        "data": record_facts(record),
    }
