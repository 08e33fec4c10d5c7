"""``hms-nomad mesh``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_service
from hms_nomad.cli.options import HeaderOption, OptionalServiceArgument, headers_of
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.mesh import graph_lines, graph_mermaid, sidecar_document, sidecar_lines
from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.rights import Decision, Request
from hms_nomad.workflows import mesh as workflow

app = new_app("See who may call whom, and how the sidecars that enforce it are.")


class Drawing(StrEnum):
    """How a graph is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"


SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Service that calls.", autocompletion=complete_service)
]
DestinationArgument = Annotated[
    str, typer.Argument(metavar="DEST", help="Service that is called.", autocompletion=complete_service)
]


@command(
    app,
    "can-i",
    "hms-nomad mesh can-i payment-svc receipt-svc POST /receipt",
    "hms-nomad mesh can-i payment-svc receipt-svc",
    "hms-nomad mesh can-i payment-svc receipt-svc GET /admin --header 'X-Role: auditor' --output json",
)
def can_i(
    run: Run,
    source: SourceArgument,
    destination: DestinationArgument,
    method: Annotated[str | None, typer.Argument(metavar="METHOD", help="Method of the request.")] = None,
    path: Annotated[str | None, typer.Argument(metavar="PATH", help="Path of the request.")] = None,
    header: HeaderOption = None,
) -> int:
    """Say whether one service may call another, and which rule decides.

    The rules are Consul's intentions, evaluated as its sidecars do. Nothing is sent. Exit code 0: allowed (without
    METHOD and PATH: for some requests at least), 8: denied.
    """
    if (method is None) != (path is None) or (path is not None and not path.startswith("/")):
        raise typer.BadParameter("name both or none of METHOD and PATH, such as POST /receipt")
    request = Request(method.upper(), path, headers_of(header)) if method and path else None
    with run.session() as session:
        decision = workflow.can_i(session, source, destination, request)
    body = {
        "source": source,
        "destination": destination,
        "method": request.method if request else None,
        "path": path,
        "decision": decision,
    }
    question = f"{source} -> {destination}" + (f" {request.method} {request.path}" if request else "")
    run.printer.show("can-i", body, lambda: _answer(run.printer, question, decision))
    return ExitCode.DENIED if decision.allowed is False else ExitCode.OK


@command(
    app, "graph", "hms-nomad mesh graph", "hms-nomad mesh graph --as mermaid", "hms-nomad mesh graph --output json"
)
def graph(
    run: Run,
    drawing: Annotated[Drawing, typer.Option("--as", help="How it is drawn.")] = Drawing.TEXT,
) -> None:
    """Draw who may call whom, and what."""
    with run.session() as session:
        found = workflow.graph(session)
    body = {"services": found.services, "rights": found.edges, "default_allow": found.default_allow}
    run.printer.show(
        "graph",
        body,
        lambda: (
            graph_mermaid(found.services, found.edges)
            if drawing is Drawing.MERMAID
            else graph_lines(run.printer, found.services, found.edges, default_allow=found.default_allow)
        ),
    )


@command(app, "status", "hms-nomad mesh status", "hms-nomad mesh status receipt-svc --output json")
def status(run: Run, name: OptionalServiceArgument = None) -> None:
    """Show the sidecar of each instance: its certificate, its configuration, and what it counted.

    The certificate is the one that it really shows, read in a handshake with an identity of your own. Counts are since
    the sidecar started.
    """
    with run.session() as session:
        found = workflow.mesh_status(session, name)
    body = {"sidecars": [sidecar_document(one) for one in found]}
    run.printer.show("mesh", body, lambda: sidecar_lines(run.printer, found, datetime.now(UTC)))


def _answer(printer: Printer, question: str, decision: Decision) -> Iterator[str]:
    if decision.allowed is False:
        yield f"{printer.style('✗', 'red')} {inert(question)}: denied"
    elif decision.allowed:
        yield f"{printer.style('✓', 'green')} {inert(question)}: allowed"
    else:
        yield f"{printer.style('✓', 'green')} {inert(question)}: allowed for {inert('; '.join(decision.only))}"
    for need in decision.needs:
        yield f"  with {inert(need)}"
    declared = f", declared by {decision.declared_by}" if decision.declared_by else ""
    yield f"  rule: {inert(decision.rule)}{declared}"
