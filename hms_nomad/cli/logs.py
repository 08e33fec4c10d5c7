"""``hms-nomad logs``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.workflows.operating import logs as workflow
from hms_nomad.workflows.operating.logs import TASK

app = new_app()

_USUAL_TAIL = 100


@command(
    app,
    "logs",
    "hms-nomad logs receipt-svc --tail 20",
    "hms-nomad logs receipt-svc --follow --stderr",
    "hms-nomad logs receipt-svc --task migrate",
    "hms-nomad logs receipt-svc --grep 'ERROR|WARN' --output json",
)
def logs(
    run: Run,
    name: ServiceArgument,
    tail: Annotated[
        int | None,
        typer.Option(
            "--tail",
            "-n",
            min=0,
            metavar="LINES",
            help="Last lines of each instance's stdout and stderr; 100 without --grep, else all that match.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Only what goes to stdout.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only what goes to stderr.")] = False,
    alloc: Annotated[
        str, typer.Option("--alloc", metavar="ID", help="One instance, by the beginning of its id; ended ones too.")
    ] = "",
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="Task whose output is meant: app, or a helper of the spec.")
    ] = TASK,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="PATTERN", help="Only lines that match a regular expression.")
    ] = None,
) -> None:
    """Show what the instances of a service write.

    Each line is tagged with the short id of its instance. With --follow, instances that start later join in. With
    --output json each line is a JSON document of its own.
    """
    streams = tuple(stream for stream, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted or stdout == stderr)
    options = workflow.LogOptions(
        tail=_USUAL_TAIL if tail is None and (grep is None or follow) else tail,
        streams=streams,
        allocation=alloc,
        task=task,
        pattern=_pattern(grep),
    )
    read = workflow.follow_logs if follow else workflow.read_logs
    with run.session() as session:
        lines = read(session, name, options, lambda event: _report(run, event))
        for line in lines:
            _show(run, line)
            if run.printer.closed:
                break


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise typer.BadParameter(f"{text!r} is no regular expression: {error}", param_hint="--grep") from None


def _report(run: Run, event: Event) -> None:
    if event.kind == "warning":
        run.printer.warn(f"warning: {event.message}")
    else:
        run.printer.note(event.message)


def _show(run: Run, line: workflow.LogLine) -> None:
    printer = run.printer
    if printer.json:
        printer.record("logs", {"allocation": line.allocation, "stream": line.stream, "line": line.text})
        return
    tag = printer.style(f"[{line.allocation[:8]}]", "red" if line.stream == "stderr" else "cyan")
    printer.text([f"{tag} {printer.foreign(line.text)}"])
