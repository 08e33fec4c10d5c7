"""``hms-nomad validate``."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer
from msgspec.structs import replace

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import EnvironmentOption, SpecsArgument, VariablesOption, parse_variables
from hms_nomad.output.document import as_text
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.facts import UNKNOWN, Facts
from hms_nomad.spec.report_formats import diagnostics_to_json, diagnostics_to_sarif
from hms_nomad.workflows.cluster_facts import gather_facts
from hms_nomad.workflows.planning import validate as workflow
from hms_nomad.workflows.planning.rules import Judgement, judge_specs, load_rules

app = new_app()


class ReportFormat(StrEnum):
    """What stdout carries."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


@command(
    app,
    "validate",
    "hms-nomad validate receipt.hms.yml",
    "hms-nomad validate services/ --cluster --fail-on warning",
    "hms-nomad validate services/ --rules baseline --rules policies/deploy/",
    "hms-nomad validate services/ --output sarif > findings.sarif",
)
def validate(
    run: Run,
    specs: SpecsArgument,
    fail_on: Annotated[Level, typer.Option("--fail-on", help="Lightest finding that ends with code 2.")] = Level.ERROR,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check against the nodes and services of the cluster too.")
    ] = False,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rules", metavar="NAME|PATH", help="Deploy rules to hold to, besides those of the context."),
    ] = None,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
    output: Annotated[
        ReportFormat, typer.Option("--output", "-o", help="What stdout carries; sarif for code scanners.")
    ] = ReportFormat.TEXT,
) -> int:
    """Check specs, without asking a server unless --cluster says so.

    Each finding is one line: the place, its code, the cause, and what would be right. Checks that could not be made
    are counted, with what they would have needed. What breaks a deploy rule ends with code 8, as the deploy would.
    """
    facts = _facts(run) if cluster else UNKNOWN
    report = workflow.validate(specs, fail_on, facts, env, parse_variables(var))
    platform = run.platform()
    found = judge_specs(report.specs, platform, load_rules((*platform.rules, *(rules or ()))))
    report = replace(report, diagnostics=(*report.diagnostics, *found.denials))
    if output is ReportFormat.SARIF:
        run.printer.text([as_text(diagnostics_to_sarif(report.diagnostics))])
    else:
        run.printer.show("validate", _body(report, found), lambda: _lines(report, found, notes=fail_on is Level.INFO))
    if report.failed:
        return ExitCode.BAD_INPUT
    return ExitCode.DENIED if found.denials else ExitCode.OK


def _facts(run: Run) -> Facts:
    with run.session() as session:
        return gather_facts(session.nomad, session.consul)


def _body(report: workflow.Report, found: Judgement) -> dict[str, object]:
    return {
        "ok": not report.failed and not found.denials,
        "exceptions": [str(one) for one in found.exceptions],
        "files": report.files,
        "diagnostics": diagnostics_to_json(report.diagnostics),
        "not_run": report.not_run,
    }


def _lines(report: workflow.Report, judgement: Judgement, *, notes: bool) -> Iterator[str]:
    """Notes wait while there are errors, so that the errors are seen, unless ``notes`` is set: they decide then."""
    later = report.count(Level.INFO) if report.count(Level.ERROR) and not notes else 0
    yield from (str(found) for found in report.diagnostics if not later or found.level is not Level.INFO)
    if later:
        yield f"{_counted(later, 'note')} not shown before the errors are mended"
    yield from (f"exception: {one}" for one in judgement.exceptions)
    yield from (str(missing) for missing in report.not_run)
    counts = ", ".join(_counted(report.count(level), level) for level in (Level.ERROR, Level.WARNING))
    yield f"{_counted(len(report.files), 'file')}: {counts}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
