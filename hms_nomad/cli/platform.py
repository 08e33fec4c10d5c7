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
from hms_nomad.workflows.platform import access_log as access_logs
from hms_nomad.workflows.platform import jobs as workflow

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


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


class Job(StrEnum):
    """The jobs that ship with the program."""

    GATEWAY = workflow.GATEWAY
    EGRESS = workflow.EGRESS
    AUTOSCALER = workflow.AUTOSCALER
    TELEMETRY = workflow.TELEMETRY
    ROLLOUTS = workflow.ROLLOUTS
    REGISTRY = workflow.REGISTRY


JobArgument = Annotated[
    Job,
    typer.Argument(
        metavar="JOB",
        help="gateway: the way in for routes with public: true. egress: the way out to external services. "
        "autoscaler: what moves the counts of services. telemetry: Prometheus, with rules and alerts. "
        "rollouts: what drives rollouts in the cluster. registry: answers by HTTP where services live.",
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
    what = "does not work" if outcome.kind == Job.ROLLOUTS else "did not become healthy"
    run.printer.warn(f"error: {outcome.job} {what}: {inert(outcome.failure.reason)}")
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
    "access-log",
    "hms-nomad platform access-log",
    "hms-nomad platform access-log on",
    "hms-nomad platform access-log off --output json",
    writes=True,
)
def access_log(
    run: Run,
    state: Annotated[Switch | None, typer.Argument(metavar="[on|off]", help="What it shall be.")] = None,
) -> None:
    """Show whether the proxies of the mesh write down each call, or switch that.

    Each call is then a line in the output of the callee's sidecar, with the identities of both sides, which
    "hms-nomad events" delivers. All proxies take it over at once, without a restart. Queries behind a path are kept in
    those lines, but never delivered.
    """
    with (run if state else run.looking()).session() as session:
        if state is None:
            found = access_logs.access_log_state(session)
        else:
            with shown(run.printer, f"Switching the access log {state}") as report:
                found = access_logs.set_access_log(session, report, on=state is Switch.ON)
    run.printer.show("platform", {"access_log": found}, lambda: [_switched(run.printer, found, state)])


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


def _switched(printer: Printer, found: access_logs.AccessLog, state: Switch | None) -> str:
    if state is None:
        hint = "; switch it on with: hms-nomad platform access-log on"
        words = {access_logs.OTHER: "set by somebody else", access_logs.OFF: f"off{hint}"}
        return f"the access log of the mesh is {words.get(found.state, found.state)}"
    word = found.state if found.changed else f"{found.state} already: nothing to change"
    return f"{printer.style('✓', 'green')} the access log of the mesh is {word}"


def _installed(printer: Printer, outcome: workflow.PlatformOutcome) -> Iterator[str]:
    if outcome.failure is None:
        word = "runs" if outcome.changed else "runs already: nothing to change"
        if outcome.kind == Job.ROLLOUTS:
            ready = "is ready" if outcome.changed else "is ready already: nothing to change"
            yield f"{printer.style('✓', 'green')} {outcome.job} {ready} (tried out on a node)"
            return
        count = f"{outcome.instances} healthy {'instance' if outcome.instances == 1 else 'instances'}"
        yield f"{printer.style('✓', 'green')} {outcome.job} {word} ({count})"


def _overview(printer: Printer, jobs: Sequence[workflow.PlatformJob]) -> Iterator[str]:
    if not jobs:
        yield "this platform has no jobs of its own: its context says null for each"
        return
    rows = [(one.kind, one.name, one.state, f"{one.healthy}/{one.desired}", one.detail) for one in jobs]
    yield from table(printer, ("JOB", "NAME", "STATE", "HEALTHY", "DETAIL"), rows, _COLORS)
