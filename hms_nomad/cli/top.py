"""``hms-nomad top``."""

from __future__ import annotations

import contextlib
import threading
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import OptionalServiceArgument, parse_seconds
from hms_nomad.output.screen import screen
from hms_nomad.output.top import top_lines
from hms_nomad.workflows.operating import top as workflow

app = new_app()


@command(app, "top", "hms-nomad top", "hms-nomad top receipt-svc --every 2s", "hms-nomad top --output json")
def top(
    run: Run,
    name: OptionalServiceArgument = None,
    every: Annotated[
        float | None, typer.Option("--every", parser=parse_seconds, metavar="TIME", help="Time between two looks.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the table once, also on a terminal.")] = False,
) -> None:
    """Show the services with their instances, CPU, memory, requests, errors, p99, release and scaling.

    On a terminal the table is renewed every 5 s until you end it with Ctrl-C; elsewhere, and with --output json, it is
    printed once. Requests, errors and p99 need the platform's Prometheus: hms-nomad platform install telemetry.
    """
    names = (name,) if name else ()
    with run.session() as session:
        if once or run.printer.json or not run.printer.on_terminal:
            services = workflow.top(session, names)
            run.printer.show("top", {"services": services}, lambda: top_lines(run.printer, services))
            return
        # Ending the view is what people do when they have seen enough.
        with contextlib.suppress(KeyboardInterrupt), screen() as draw:
            wait = threading.Event()
            while True:
                draw(list(top_lines(run.printer, workflow.top(session, names))))
                wait.wait(every or 5.0)
