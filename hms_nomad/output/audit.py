"""Audit records -> lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from hms_nomad.apply.audit import Record
from hms_nomad.output.printer import Printer
from hms_nomad.output.table import table

_COLUMNS = ("NUMBER", "TIME", "SERVICE", "COMMAND", "RESULT", "CHANGES", "BY", "TOKEN", "HASH")
_SHORT = 12


def audit_lines(printer: Printer, records: Sequence[Record]) -> Iterator[str]:
    """One line a record, oldest first."""
    if not records:
        yield "No change is recorded."
        return
    yield from table(printer, _COLUMNS, [_row(record) for record in records])


def _row(record: Record) -> tuple[str, ...]:
    return (
        str(record.number),
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.time)),
        record.service,
        record.command,
        record.result,
        str(len(record.done)),
        record.who,
        record.accessor[:_SHORT],
        record.hash[:_SHORT],
    )
