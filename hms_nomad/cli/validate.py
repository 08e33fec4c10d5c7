"""``hms-nomad validate``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import SpecsArgument
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.faults import diagnostic_document
from hms_nomad.spec.diagnostics import Level
from hms_nomad.workflows import validate as workflow

app = new_app()


@command(
    app,
    "validate",
    "hms-nomad validate receipt.hms.yml",
    "hms-nomad validate services/ --fail-on warning",
    "cat receipt.hms.yml | hms-nomad validate - --output json",
    cluster=False,
)
def validate(
    run: Run,
    specs: SpecsArgument,
    fail_on: Annotated[Level, typer.Option("--fail-on", help="Lightest finding that ends with code 2.")] = Level.ERROR,
) -> int:
    """Check specs, without asking a server.

    Each finding is one line: the place, its code, the cause, and what would be right.
    """
    report = workflow.validate(specs, fail_on)
    body = {
        "ok": not report.failed,
        "files": report.files,
        "diagnostics": [diagnostic_document(found) for found in report.diagnostics],
        "not_run": report.not_run,
    }
    run.printer.show("validate", body, lambda: _lines(report))
    return ExitCode.BAD_INPUT if report.failed else ExitCode.OK


def _lines(report: workflow.Report) -> Iterator[str]:
    yield from (str(found) for found in report.diagnostics)
    yield from (str(missing) for missing in report.not_run)
    counts = ", ".join(_counted(report.count(level), level) for level in (Level.ERROR, Level.WARNING))
    yield f"{_counted(len(report.files), 'file')}: {counts}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
