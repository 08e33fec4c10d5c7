"""``audit``: the trail of all changes, as the platform keeps it."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from hms_nomad.apply.audit import ConsulTrail, FileTrail, Record, broken_links
from hms_nomad.workflows.session import Session


class Verified(Struct, frozen=True):
    """What came of a check: how many records there are, the last one's hash, and what is wrong (empty: nothing)."""

    records: int
    last: str
    wrong: tuple[str, ...]


def trail_of(session: Session) -> FileTrail | ConsulTrail | None:
    """Where this platform's changes are kept; None where it keeps none."""
    audit = session.platform.audit
    if audit.sink == "none":
        return None
    if audit.sink == "file":
        return FileTrail(Path(audit.file or ""))
    return ConsulTrail(session.consul, session.platform.namespace, session.chain)


def list_audit(session: Session, service: str | None = None, since: float = 0.0) -> tuple[Record, ...]:
    """The records, oldest first: of one service, and since a time in seconds since 1970, where these are given.

    Raises AuditError and the errors of ``hms_nomad.clients.errors``.
    """
    trail = trail_of(session)
    records = trail.records() if trail else ()
    return tuple(one for one in records if service in (None, one.service) and one.time >= since)


def verify_audit(session: Session, expect: str = "") -> Verified:
    """Recompute the chain; ``expect`` is a hash that was noted elsewhere and must still be in it.

    Raises AuditError and the errors of ``hms_nomad.clients.errors``.
    """
    trail = trail_of(session)
    records = trail.records() if trail else ()
    wrong = broken_links(records)
    if expect and not any(record.hash == expect for record in records):
        wrong = (*wrong, f"no record has the hash {expect}: the end of the trail was cut off or written anew")
    return Verified(len(records), records[-1].hash if records else "", wrong)
