"""``hms-nomad load``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_service
from hms_nomad.cli.options import AsOption, HeaderOption, ReleaseOption, TimeoutOption, headers_of, parse_seconds
from hms_nomad.clients.http_load import Tally
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.load import load_lines
from hms_nomad.workflows.mesh import load as workflow

app = new_app()

_PATIENCE_SECONDS = 15.0


@command(
    app,
    "load",
    "hms-nomad load receipt-svc/health --rate 200 --for 60s",
    """hms-nomad load receipt-svc/receipt --method POST -d '{"email": "jane@example.gov"}' --as payment-svc""",
    "hms-nomad load receipt-svc --rate 50 --for 10s --output json",
)
def load(
    run: Run,
    url: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="NAME, NAME/PATH or http://NAME.mesh/PATH.", autocompletion=complete_service
        ),
    ],
    rate: Annotated[float, typer.Option("--rate", min=0.1, max=20_000, help="Requests a second.")] = 50.0,
    duration: Annotated[
        float, typer.Option("--for", parser=parse_seconds, metavar="TIME", help="How long, like 60s or 5m.")
    ] = 10.0,
    method: Annotated[str, typer.Option("--method", "-X", metavar="METHOD", help="Method of the requests.")] = "GET",
    data: Annotated[str | None, typer.Option("--data", "-d", help="Body of the requests.")] = None,
    header: HeaderOption = None,
    identity: AsOption = None,
    release: ReleaseOption = None,
    connections: Annotated[int, typer.Option("--connections", min=1, max=4096, help="Most open connections.")] = 256,
    timeout: TimeoutOption = None,
) -> int:
    """Send a steady rate of requests to a service in the mesh, and show how long the answers took.

    Requests are sent when they are due, whether or not earlier ones were answered, and their latency counts from then
    on: a service that stands still shows in every request that had to wait. They go to the sidecars of its healthy
    instances by mutual TLS, as those of "hms-nomad call". Exit code 5: a request failed (no answer, or one of 500 and
    above).
    """
    headers = headers_of(header)
    if data is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    options = workflow.LoadOptions(
        method=method.upper(),
        headers=headers,
        body=(data or "").encode(),
        rate=rate,
        seconds=duration,
        timeout=timeout or _PATIENCE_SECONDS,
        connections=connections,
        identity=identity,
        release=release,
    )

    def progress(tally: Tally) -> None:
        failed = sum(tally.failures.values())
        run.printer.note(f"{tally.seconds:.0f} s: {tally.due} sent, {len(tally.latencies)} answered, {failed} failed")

    with run.session() as session:
        result = workflow.load(session, url, options, progress)
    run.printer.show("load", {"load": result}, lambda: load_lines(run.printer, result))
    return ExitCode.FAILED if result.failed else ExitCode.OK
