"""``hms-nomad mesh``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_service
from hms_nomad.cli.options import (
    EnvironmentOption,
    HeaderOption,
    OptionalServiceArgument,
    ServiceArgument,
    VariablesOption,
    headers_of,
    parse_seconds,
    parse_variables,
)
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.mesh import graph_lines, graph_mermaid, request_line, sidecar_document, sidecar_lines
from hms_nomad.output.mesh_policy import policy_lines
from hms_nomad.output.mesh_svg import graph_svg
from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.rights import Decision, Request
from hms_nomad.workflows.mesh import overview as workflow
from hms_nomad.workflows.mesh import policy as policies
from hms_nomad.workflows.mesh import tap as tapping
from hms_nomad.workflows.specs import STDIN, SUFFIXES, read_origins, read_spec

app = new_app("See who may call whom and who does, and how the sidecars that enforce it are.")


class Drawing(StrEnum):
    """How a graph is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


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
    app,
    "graph",
    "hms-nomad mesh graph",
    "hms-nomad mesh graph --as mermaid",
    "hms-nomad mesh graph --as svg > mesh.svg",
    "hms-nomad mesh graph --output json",
)
def graph(
    run: Run,
    drawing: Annotated[Drawing, typer.Option("--as", help="How it is drawn.")] = Drawing.TEXT,
) -> None:
    """Draw who may call whom, and what."""
    with run.session() as session:
        found = workflow.graph(session)
    body = {"services": found.services, "rights": found.edges, "default_allow": found.default_allow}
    drawn: dict[Drawing, Callable[[], Iterator[str]]] = {
        Drawing.TEXT: lambda: graph_lines(run.printer, found.services, found.edges, default_allow=found.default_allow),
        Drawing.MERMAID: lambda: graph_mermaid(found.services, found.edges),
        Drawing.SVG: lambda: graph_svg(found.services, found.edges),
    }
    run.printer.show("graph", body, drawn[drawing])


@command(
    app,
    "tap",
    "hms-nomad mesh tap receipt-svc",
    "hms-nomad mesh tap receipt-svc --status 5xx --status 429 --for 5m",
    "hms-nomad mesh tap receipt-svc --denied --limit 1 --output json",
    "hms-nomad mesh tap payment-svc --outgoing --path /receipt",
)
def tap(
    run: Run,
    name: ServiceArgument,
    outgoing: Annotated[bool, typer.Option("--outgoing", help="What the service calls, not who calls it.")] = False,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only these, like 503 or 5xx; repeatable."),
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="Only requests of this method.")] = "",
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="Only paths that begin so.")] = "",
    caller: Annotated[
        str, typer.Option("--caller", metavar="NAME", help="Only this caller: a service, or an address outside.")
    ] = "",
    request_id: Annotated[str, typer.Option("--id", metavar="ID", help="Only the request with this id.")] = "",
    denied: Annotated[bool, typer.Option("--denied", help="Only what the mesh refused.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="COUNT", help="End after that many.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", parser=parse_seconds, metavar="TIME", help="End after that time, like 5m.")
    ] = None,
) -> None:
    """Show the requests of a service live, as the sidecars of its instances write them down, until Ctrl-C.

    Of each: when it began, who called, by which method and path, the answer's status, how long it took, bytes received
    and sent, the request's id, and how Envoy ended it where that was not as usual. The gateway and the egress can be
    named too. With --output json each is a document on a line of its own. It needs the access log of the mesh:
    "hms-nomad platform access-log on".
    """
    options = tapping.TapOptions(
        outgoing, _statuses(status), method.upper(), path, caller, request_id, denied, seconds, limit
    )
    with run.session() as session:
        for one in tapping.tap(session, name, options, lambda event: run.printer.note(event.message)):
            if run.printer.json:
                run.printer.record("tap", {"instance": one.allocation, "request": one.request})
            else:
                run.printer.text([request_line(run.printer, one.request, one.allocation)])
            if run.printer.closed:
                break


def _statuses(given: list[str] | None) -> tuple[str, ...]:
    for one in given or ():
        if not re.fullmatch(r"[1-5](xx|[0-9]{2})", one):
            raise typer.BadParameter(f"{one!r} is no status; say one like 503 or 5xx", param_hint="--status")
    return tuple(given or ())


@command(
    app,
    "explain",
    "hms-nomad mesh explain receipt.hms.yml",
    "hms-nomad mesh explain receipt.hms.yml --env staging --for payment-svc",
    "hms-nomad mesh explain receipt-svc --output json",
)
def explain(
    run: Run,
    what: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|NAME",
            help="File of a service, to compare with Consul; or the name of one that runs.",
            autocompletion=complete_service,
        ),
    ],
    caller: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="NAME", help="Only this caller's sidecars, not all.", autocompletion=complete_service
        ),
    ] = None,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> None:
    """Show how the mesh treats requests to a service, and where each setting comes from.

    Protocol, timeouts, retries, load balancing, outlier ejection and limits, each with the place in the spec that gave
    it, and whether Consul has the same in what it tells the sidecars. Below stand the callers' sidecars, with what they
    were told, and whether they have it.
    """
    if what == STDIN or what.endswith(SUFFIXES) or Path(what).is_file():
        variables = parse_variables(var)
        spec, origins = read_spec(what, env, variables), read_origins(what, env, variables)
        with run.session() as session:
            found = policies.explain_spec(session, spec, origins, caller)
    elif env or var:
        raise typer.BadParameter("--env and --var belong to the file of a spec", param_hint="--env")
    else:
        with run.session() as session:
            found = policies.explain_service(session, what, caller)
    body = {"service": found.service, "same": found.same, "settings": found.settings, "callers": found.callers}
    run.printer.show("mesh-policy", body, lambda: policy_lines(run.printer, found.settings, found.callers))


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
