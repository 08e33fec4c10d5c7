"""What sources of the feed tell -> CloudEvents (https://github.com/cloudevents/spec, version 1.0)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from hms_nomad.apply.audit import Record, record_facts
from hms_nomad.platform.model import Platform


class Kind(StrEnum):
    """What the feed tells of."""

    CHANGE = "change"
    DEPLOYMENT = "deployment"
    SCALING = "scaling"
    ACCESS = "access"
    DENIAL = "denial"
    CERTIFICATE = "certificate"


class Item(Struct, frozen=True):
    """One step of a source: the ``event`` to tell, if any, and the ``position`` of the source ``key`` after it.

    A position of None forgets the source.
    """

    key: str
    position: Any
    event: dict[str, Any] | None = None


class Desk(Struct, frozen=True):
    """What a source gets to work with.

    ``since`` bounds, in seconds since 1970, what a source tells that has no position yet. ``positions`` are how far
    each source has come, brought up to date by ``emit``. With ``follow`` a source goes on until ``stop`` is set, else
    it ends with what is there. ``fail`` ends the feed with an error.
    """

    platform: Platform
    since: float
    follow: bool
    positions: Mapping[str, Any]
    emit: Callable[[Item], None]
    fail: Callable[[BaseException], None]
    warn: Callable[[str], None]
    stop: threading.Event
    kinds: frozenset[Kind]

    def event(self, word: str, id_: str, subject: str, moment: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """An event of the type ``hms-nomad.WORD``; ``moment`` is a time as RFC 3339 writes it."""
        return _event(self.platform.name, self.platform.namespace, word, id_, subject, moment, data)

    def gap(self, key: str, id_: str, subject: str, reason: str) -> dict[str, Any]:
        """The mark of a loss: what the source ``key`` had to tell at this place is not known."""
        data = {"of": key, "reason": reason}
        return self.event("feed.gap", f"{key}/gap/{id_}", subject, rfc3339(time.time()), data)


def change_event(record: Record) -> dict[str, Any]:
    """A record of the audit trail: the type names command and result, the id is the record's hash."""
    word = f"{record.command.replace(' ', '.')}.{record.result}"
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.time))
    data = record_facts(record)
    return _event(record.platform, record.namespace, word, record.hash, record.service, moment, data)


def rfc3339(moment: float) -> str:
    """A time in seconds since 1970 as "2026-11-24T20:00:00.123Z"."""
    milliseconds = int(moment * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03d}Z"


def _event(
    platform: str, namespace: str, word: str, id_: str, subject: str, moment: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": id_,
        "source": f"/hms-nomad/{platform}/{namespace}",
        "type": f"hms-nomad.{word}",
        "subject": subject,
        "time": moment,
        "datacontenttype": "application/json",
        "data": dict(data),
    }
