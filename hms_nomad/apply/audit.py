"""Who changed what -> an append-only trail of records, each sealed with the hash of the one before it.

The trail is a file of lines or a range of keys in Consul, as the platform says. Changing, removing or inserting a
record breaks the chain from there on. Cutting off the end is seen by whoever kept the last hash elsewhere, which is
what following the trail as events is for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.moments import moment_from
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import KvStep, set_key, swap_key
from hms_nomad.clients.errors import ConflictError

AUDIT_SCHEMA = 1
_NOTHING = "0" * 64
_TRIES = 50
_BLOCK = 65536
_DIGITS = 10


class AuditError(Exception):
    """The audit trail cannot be written or read; nothing is changed without it."""


class Record(Struct, frozen=True):
    """One change. ``accessor`` names the Consul token that was used ("" without one), ``who`` the user and host.

    ``objects`` are kind, name, action and the index that was read, ``done`` what was changed in words, ``digest`` that
    of the plan, ``time`` seconds since 1970. ``number`` counts from 1; ``before`` and ``hash`` are the seals of the
    record before this one and of this one.
    """

    time: float
    platform: str
    namespace: str
    service: str
    command: str
    who: str
    accessor: str
    run: str
    result: str
    digest: str = ""
    message: str = ""
    objects: tuple[tuple[str, str, str, int], ...] = ()
    done: tuple[str, ...] = msgspec.field(default=())
    schema: int = AUDIT_SCHEMA
    number: int = 0
    before: str = ""
    hash: str = ""

    def sealed(self, number: int, before: str) -> Record:
        """The same as record ``number`` of a chain, behind the one with the hash ``before``."""
        placed = replace(self, number=number, before=before, hash="")
        return replace(placed, hash=_hash(placed))


class ChainEnd(Struct):
    """The last record as a process kept or found it (None: there was none yet, where it is ``known``).

    Its threads take turns by ``guard``.
    """

    last: Record | None = None
    known: bool = False
    guard: threading.Lock = msgspec.field(default_factory=threading.Lock)


class Trail(Protocol):
    """Where records are kept. All calls raise AuditError and the errors of ``hms_nomad.clients.errors``."""

    def append(self, record: Record) -> Record:
        """Keep one record behind the last one; answers it sealed."""

    def records(self) -> tuple[Record, ...]:
        """All records, oldest first."""


class FileTrail(Struct, frozen=True):
    """A file with one line of JSON a record; several processes of a machine may write it."""

    file: Path

    def check(self) -> None:
        """Raise AuditError when the file cannot be written, before anything is changed."""
        self._open()[1].close()

    def append(self, record: Record) -> Record:
        """See Trail. The line is on the disk when this answers."""
        opened, stream = self._open()
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            last = _last_line(opened)
            before = _record_from(last, f"the last line of {self.file}") if last else None
            sealed = record.sealed(before.number + 1 if before else 1, before.hash if before else _NOTHING)
            try:
                stream.write(_line(sealed) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                raise AuditError(f"the audit file {self.file} cannot be written: {error.strerror}") from None
        return sealed

    def records(self) -> tuple[Record, ...]:
        """See Trail."""
        try:
            lines = self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise AuditError(f"the audit file {self.file} cannot be read: {error.strerror}") from None
        return tuple(
            _record_from(line, f"line {number} of {self.file}") for number, line in enumerate(lines, 1) if line.strip()
        )

    def _open(self) -> tuple[Path, Any]:
        try:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            raise AuditError(
                f"the audit file {self.file} cannot be written: {error.strerror}; nothing is changed without it"
            ) from None
        return self.file, os.fdopen(descriptor, "ab", buffering=0)


class ConsulTrail(Struct, frozen=True):
    """Keys below ``hms-nomad/audit/NAMESPACE/``, each made once and never changed; any number of writers.

    ``end`` spares the next record of the same process the search for the last one.
    """

    consul: ConsulClient
    namespace: str
    end: ChainEnd = msgspec.field(default_factory=ChainEnd)

    @property
    def head(self) -> str:
        """The key that says which record was the last; a hint, and what to wait for news at."""
        return f"hms-nomad/audit-head/{self.namespace}"

    def check(self) -> None:
        """Nothing to check beforehand: Consul is asked anyway."""

    def look_ahead(self) -> None:
        """Find the end of the chain while there is time, so that the next record is not kept waiting by the search."""
        with self.end.guard:
            if not self.end.known:
                self.end.last, self.end.known = self._last(), True

    def append(self, record: Record) -> Record:
        """See Trail."""
        return self.append_with(record, ())[0]

    def append_with(self, record: Record, steps: Sequence[KvStep]) -> tuple[Record, bool]:
        """The same, and in the same transaction what else is to be kept at that moment; False where ``steps`` were
        refused, and the record alone was kept. Raises as ``append``.
        """
        also = tuple(steps)
        with self.end.guard:
            for _ in range(_TRIES):
                last = self.end.last if self.end.known else self._last()
                sealed = record.sealed(last.number + 1 if last else 1, last.hash if last else _NOTHING)
                own = (swap_key(self._key(sealed.number), _line(sealed), 0), self._moved_head(sealed))
                kept = self.consul.kv_transact("keep an audit record", (*own, *also))
                if kept.done:
                    self.end.last, self.end.known = sealed, True
                    return sealed, also == tuple(steps)
                if 0 in kept.refused:
                    # Somebody else added a record.
                    self.end.known = False
                else:
                    also = ()
        raise ConflictError("consul", "keep an audit record", self.consul.address, "others keep adding records")

    def records(self) -> tuple[Record, ...]:
        """See Trail."""
        pairs = sorted(self.consul.kv_list(self._key(0)[:-_DIGITS]), key=lambda pair: pair.key)
        return tuple(_record_from(pair.value, f"the key {pair.key}") for pair in pairs)

    def _last(self) -> Record | None:
        head = self.consul.kv_get(self.head)
        number = int(head.value) if head and head.value.isdigit() and len(head.value) <= _DIGITS else 0
        last = self._at(number) if number else None
        if last is None:
            found = self.records()
            return found[-1] if found else None
        while (following := self._at(last.number + 1)) is not None:
            last = following
        return last

    def _at(self, number: int) -> Record | None:
        pair = self.consul.kv_get(self._key(number))
        return _record_from(pair.value, f"the key {pair.key}") if pair else None

    def _moved_head(self, last: Record) -> KvStep:
        return set_key(self.head, str(last.number).encode())

    def _key(self, number: int) -> str:
        return f"hms-nomad/audit/{self.namespace}/{number:0{_DIGITS}d}"


def broken_links(records: Iterable[Record]) -> tuple[str, ...]:
    """What is wrong with a chain, a line for each record that does not fit; empty when it is whole."""
    wrong: list[str] = []
    number, before = 0, _NOTHING
    for record in records:
        number += 1
        if record.number != number:
            wrong.append(f"record {number} is missing: record {record.number} stands in its place")
            number = record.number
        elif record.before != before:
            wrong.append(f"record {number} does not follow the one before it, which was changed or replaced")
        if record.hash != _hash(replace(record, hash="")):
            wrong.append(f"record {number} was changed: its content has another hash than it says")
        before = record.hash
    return tuple(wrong)


def record_facts(record: Record) -> Mapping[str, Any]:
    """A record as JSON carries it."""
    facts: dict[str, Any] = msgspec.to_builtins(record)
    return facts


def _hash(record: Record) -> str:
    fields = {key: value for key, value in record_facts(record).items() if key != "hash"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _line(record: Record) -> bytes:
    return json.dumps(record_facts(record), separators=(",", ":")).encode()


def _record_from(data: bytes, where: str) -> Record:
    try:
        record = msgspec.json.decode(data, type=Record)
        moment_from(record.time)
    except (ValueError, RecursionError):
        raise AuditError(f"{where} is no record of an audit trail that this version can read") from None
    return record


def _last_line(file: Path) -> bytes:
    with file.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        rest = b""
        while end > 0:
            start = max(0, end - _BLOCK)
            stream.seek(start)
            rest = stream.read(end - start) + rest
            lines = rest.split(b"\n")
            full = [line for line in (lines if start == 0 else lines[1:]) if line.strip()]
            if full:
                return full[-1]
            end = start
    return b""
