"""``hms-nomad platform``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import TimeoutOption
from hms_nomad.output.deploys import evidence_lines
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.progress import shown
from hms_nomad.output.table import table
from hms_nomad.platform import jobspecs
from hms_nomad.workflows import platform_jobs as workflow

app = new_app("Run the platform's own jobs.")

_PATIENCE_SECONDS = 180.0
_COLORS = {
    "running": ("green",),
    "degraded": ("yellow",),
    "outdated": ("yellow",),
    "foreign": ("red",),
    "stopped": ("dim",),
    "not installed": ("dim",),
}


class Job(StrEnum):
    """The jobs that ship with the program."""

    GATEWAY = workflow.GATEWAY
    EGRESS = workflow.EGRESS
    AUTOSCALER = workflow.AUTOSCALER
    TELEMETRY = workflow.TELEMETRY


JobArgument = Annotated[
    Job,
    typer.Argument(
        metavar="JOB",
        help="gateway: the way in for routes with public: true. egress: the way out to external services. "
        "autoscaler: what moves the counts of services. telemetry: Prometheus, with rules and alerts.",
    ),
]


@command(
    app,
    "install",
    "hms-nomad platform install gateway",
    "hms-nomad platform install autoscaler",
    "hms-nomad platform install gateway --timeout 5m --output json",
    writes=True,
)
def install(run: Run, job: JobArgument, timeout: TimeoutOption = None) -> int:
    """Run a job of the platform, and wait until it is healthy.

    How it runs stands in the context, in the section of its name, such as gateway: {port: 8080}. Run it again after a
    change there; what runs so already is left alone.
    """
    with run.session() as session, shown(run.printer, f"Installing {job}") as report:
        outcome = workflow.install(session, job, timeout or _PATIENCE_SECONDS, report)
    run.printer.show("platform", {"installed": outcome}, lambda: _installed(run.printer, outcome))
    if outcome.failure is None:
        return ExitCode.OK
    run.printer.warn(f"error: {outcome.job} did not become healthy: {inert(outcome.failure.reason)}")
    for line in evidence_lines(outcome.failure):
        run.printer.warn(line)
    return ExitCode.FAILED


@command(app, "remove", "hms-nomad platform remove gateway", "hms-nomad platform remove gateway --force", writes=True)
def remove(
    run: Run,
    job: JobArgument,
    timeout: TimeoutOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also when services are reached through it.")] = False,
) -> None:
    """Stop a job of the platform and take away what belongs to it."""
    with run.session() as session, shown(run.printer, f"Removing {job}") as report:
        outcome = workflow.remove(session, job, timeout or _PATIENCE_SECONDS, report, force=force)
    done = f"{outcome.job} removed" if outcome.changed else f"{outcome.job} is not installed: nothing to remove"
    run.printer.show("platform", {"removed": outcome}, lambda: [done])


@command(app, "status", "hms-nomad platform status", "hms-nomad platform status --output json")
def status(run: Run) -> None:
    """Show the jobs of the platform: whether they run, and run as the context describes them."""
    with run.session() as session:
        jobs = workflow.platform_status(session)
    run.printer.show("platform", {"jobs": jobs}, lambda: _overview(run.printer, jobs))


@command(
    app,
    "dashboards",
    "hms-nomad platform dashboards /etc/grafana/dashboards",
    "hms-nomad platform dashboards .",
    cluster=False,
)
def dashboards(
    run: Run,
    folder: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where to write them; made when it is not there.")
    ],
) -> None:
    """Write the dashboards for Grafana into a directory, from which it can provision them.

    Dashboards of these names that are there already are replaced.
    """
    found = jobspecs.dashboards()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in found.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{error.filename} cannot be written: {error.strerror}") from None
    done = f"{len(found)} dashboards written to {folder}"
    run.printer.show("platform", {"dashboards": [str(folder / name) for name in found]}, lambda: [done])


def _installed(printer: Printer, outcome: workflow.PlatformOutcome) -> Iterator[str]:
    if outcome.failure is None:
        word = "runs" if outcome.changed else "runs already: nothing to change"
        count = f"{outcome.instances} healthy {'instance' if outcome.instances == 1 else 'instances'}"
        yield f"{printer.style('✓', 'green')} {outcome.job} {word} ({count})"


def _overview(printer: Printer, jobs: Sequence[workflow.PlatformJob]) -> Iterator[str]:
    if not jobs:
        yield "this platform has no jobs of its own: its context says null for each"
        return
    rows = [(one.kind, one.name, one.state, f"{one.healthy}/{one.desired}", one.detail) for one in jobs]
    yield from table(printer, ("JOB", "NAME", "STATE", "HEALTHY", "DETAIL"), rows, _COLORS)
