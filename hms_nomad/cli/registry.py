"""``hms-nomad registry``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table
from hms_nomad.workflows import registry as workflow

app = new_app("Look up where services live. The registry is Consul's own catalog.")

_COLORS = {"passing": ("green",), "warning": ("yellow",), "critical": ("red",)}


@command(app, "list", "hms-nomad registry list", "hms-nomad registry list --output json")
def list_services(run: Run) -> None:
    """List all services: version, URL, what they answer, and how many healthy instances they have."""
    with run.session() as session:
        services = workflow.list_registry(session)
    run.printer.show("registry", {"services": services}, lambda: _overview(run.printer, services))


@command(
    app,
    "lookup",
    "hms-nomad registry lookup receipt-svc",
    "hms-nomad registry lookup receipt-svc --output json",
)
def lookup(run: Run, name: ServiceArgument) -> None:
    """Look up one service: version, URL, routes, and the address of each instance."""
    with run.session() as session:
        service = workflow.lookup(session, name)
    run.printer.show("registry", {"service": service}, lambda: _detail(run.printer, service))


def _overview(printer: Printer, services: Sequence[workflow.Registered]) -> Iterator[str]:
    if not services:
        yield "the registry is empty; deploy a service with: hms-nomad deploy SPEC"
        return
    columns = ("NAME", "VERSION", "RELEASE", "HEALTHY", "PROTOCOL", "ROUTES", "URL")
    rows = [
        (
            one.name,
            one.version,
            one.release,
            f"{one.healthy}/{len(one.endpoints)}",
            one.protocol,
            ", ".join(_routes(one)),
            one.url,
        )
        for one in services
    ]
    yield from table(printer, columns, rows)


def _detail(printer: Printer, one: workflow.Registered) -> Iterator[str]:
    yield f"{printer.style(one.name, 'bold')} {one.version or '(no instance)'}"
    yield f"URL        {one.url or '-'}"
    yield f"Release    {one.release or '-'}"
    yield f"Protocol   {one.protocol}, port {one.port or '-'}"
    yield f"Routes     {inert(', '.join(_routes(one))) or 'everything'}"
    if one.owner:
        yield f"Owner      {inert(one.owner)}"
    yield f"Healthy    {one.healthy} of {len(one.endpoints)} instances"
    if one.endpoints:
        yield ""
        columns = ("INSTANCE", "NODE", "ADDRESS", "HEALTH", "VERSION", "RELEASE")
        rows = [(e.allocation[:8], e.node, e.address, e.status, e.version, e.release) for e in one.endpoints]
        yield from table(printer, columns, rows, _COLORS)


def _routes(one: workflow.Registered) -> Iterator[str]:
    """Routes as people say them; "..." stands for all paths that begin so, "~" for a regular expression."""
    marks = {"exact": "{}", "prefix": "{}...", "regex": "~{}"}
    for route in one.routes:
        path = marks[route.match].format(route.path)
        yield f"{','.join(route.methods)} {path}" if route.methods else path
