"""``hms-nomad events``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from hms_nomad.apply.checkpoint import open_checkpoint
from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import SinceOption, moment
from hms_nomad.clients.event_sink import FileSink, HttpSink, Sink
from hms_nomad.output.printer import Printer
from hms_nomad.workflows.feed import deliver as workflow
from hms_nomad.workflows.feed.events import Kind

app = new_app()

TOKEN_VARIABLE = "HMS_NOMAD_EVENTS_TOKEN"  # noqa: S105 - the name of a variable
CA_VARIABLE = "HMS_NOMAD_EVENTS_CACERT"


@command(
    app,
    "events",
    "hms-nomad events --since 24h --kind change --kind scaling",
    "hms-nomad events --follow --since 2026-11-25T00:00:00Z",
    "hms-nomad events --follow --to /var/log/hms-nomad/events.ndjson",
    "hms-nomad events --follow --to https://compliance.agency.gov/events --checkpoint /var/lib/hms-nomad/events.json",
)
def events(
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new one, until Ctrl-C.")] = False,
    since: SinceOption = None,
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Only these; repeatable.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="FILE|URL", help="Where to deliver them; stdout when absent.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Where to go on after a break; FILE.checkpoint for a file."),
    ] = None,
) -> None:
    """Tell what happens on the platform as CloudEvents, one JSON document a line, whatever --output says.

    Changes (the audit trail), deployments, scalings, calls between services, calls that the mesh refused, and
    certificates. Calls are known where the proxies write them down: hms-nomad platform access-log on.

    With a checkpoint each event is delivered at least once: a feed that was broken off goes on where it was, marks what
    it may have delivered before with "redelivered", numbers events in "sequence", and tells what it could not read any
    more as hms-nomad.feed.gap. An HTTP server gets batches (application/cloudevents-batch+json) and must answer 200 to
    299 once it has kept one; its token is taken from HMS_NOMAD_EVENTS_TOKEN, its authority from
    HMS_NOMAD_EVENTS_CACERT.
    """
    file = _checkpoint_file(to, checkpoint)
    options = workflow.FeedOptions(follow, moment(since), frozenset(kind or Kind))
    with ExitStack() as opened:
        session = opened.enter_context(run.session())
        book = opened.enter_context(open_checkpoint(file, workflow.origin_of(session)))
        workflow.feed(session, options, book, _sink(run.printer, to), lambda event: _report(run.printer, event))


class _Lines:
    """stdout as a sink."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def deliver(self, events: Sequence[Mapping[str, Any]]) -> None:
        for event in events:
            self._printer.stream(event)


def _sink(printer: Printer, to: str | None) -> Sink:
    if to is None:
        return _Lines(printer)
    if "://" in to:
        return HttpSink(to, os.environ.get(TOKEN_VARIABLE, ""), os.environ.get(CA_VARIABLE))
    return FileSink(Path(to))


def _checkpoint_file(to: str | None, checkpoint: Path | None) -> Path | None:
    if checkpoint is not None or to is None:
        return checkpoint
    if "://" in to:
        raise typer.BadParameter("a server needs a checkpoint of its own; name its file", param_hint="--checkpoint")
    return Path(f"{to}.checkpoint")


def _report(printer: Printer, event: Event) -> None:
    if event.kind == "warning":
        printer.warn(f"warning: {event.message}")
    else:
        printer.note(event.message)
