"""``hms-nomad connect``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import AsOption, ReleaseOption, ServiceArgument
from hms_nomad.clients.forward import Carried
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import inert
from hms_nomad.workflows.mesh import connect as workflow

app = new_app()


@command(
    app,
    "connect",
    "hms-nomad connect receipt-svc --port 8080",
    "hms-nomad connect db --as payment-svc --output json",
)
def connect(
    run: Run,
    name: ServiceArgument,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")] = 0,
    identity: AsOption = None,
    release: ReleaseOption = None,
) -> int:
    """Open a port on this machine that leads to a service in the mesh, until Ctrl-C.

    Every connection is carried to a healthy instance by mutual TLS, with a certificate that Consul gives you; any
    protocol can be spoken. The mesh's rules decide, as for any caller. The port is open to this machine only, but to
    all its users.
    """

    def opened(way: workflow.Opened) -> None:
        if run.printer.json:
            run.printer.record("connect", {"opened": way})
        else:
            run.printer.text([f"{way.url} leads to {way.service}, as {way.caller.rpartition('/')[2]}; Ctrl-C ends it"])

    def carried(one: Carried) -> None:
        if one.failure:
            run.printer.warn(f"error: {inert(one.failure)}")
        else:
            run.printer.note(f"connected to {one.peer} at {one.instance}")

    with run.session() as session:
        try:
            workflow.connect(session, name, port, identity, release, opened, carried)
        except KeyboardInterrupt:
            return ExitCode.OK
    return ExitCode.OK
