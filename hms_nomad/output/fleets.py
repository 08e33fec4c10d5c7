"""How the services of a fleet ended -> one table, and one exit code for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.faults import Fault
from hms_nomad.output.printer import Printer
from hms_nomad.output.table import table

NOT_TRIED = "not tried"
_FAILED = "failed"
_COLORS = {
    "deployed": ("green",),
    "failed": ("red",),
    "error": ("red",),
    NOT_TRIED: ("yellow",),
    "unchanged": ("dim",),
}


class FleetRow(Struct, frozen=True):
    """One service: ``result`` is the status of its deploy, "error" (with its ``fault``) or "not tried".

    ``context`` is "" where there is just one cluster.
    """

    service: str
    version: str
    result: str
    release: str = ""
    instances: str = ""
    why: str = ""
    fault: Fault | None = None
    context: str = ""

    def as_document(self) -> dict[str, Any]:
        """An error for machines."""
        return {"service": self.service, **(self.fault.as_document() if self.fault else {})}


def fleet_lines(printer: Printer, rows: Sequence[FleetRow]) -> Iterator[str]:
    """The table, and a line that counts."""
    columns = ["NAME", "VERSION", "RESULT", "RELEASE", "HEALTHY", "WHY"]
    cells = [[row.service, row.version, row.result, row.release, row.instances, row.why] for row in rows]
    if any(row.context for row in rows):
        columns.insert(0, "CONTEXT")
        for cell, row in zip(cells, rows, strict=True):
            cell.insert(0, row.context)
    yield from table(printer, columns, cells, _COLORS)
    results = [row.result for row in rows]
    counted = [f"{results.count(result)} {result}" for result in dict.fromkeys(results)]
    yield f"{len(rows)} services: {', '.join(counted)}"


def fleet_exit_code(rows: Sequence[FleetRow], *, changed: bool) -> ExitCode:
    """0 when all is well; the code that all failures share; else 7, since the same command goes on where it can.

    "Unavailable" says that nothing was changed, so it becomes 7 once something was.
    """
    codes = {ExitCode.FAILED for row in rows if row.result == _FAILED}
    codes |= {row.fault.exit_code for row in rows if row.fault is not None}
    if not codes:
        return ExitCode.UNKNOWN if any(row.result == NOT_TRIED for row in rows) else ExitCode.OK
    if len(codes) > 1 or (codes == {ExitCode.UNAVAILABLE} and changed):
        return ExitCode.UNKNOWN
    return codes.pop()
