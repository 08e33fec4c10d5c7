"""``hms-nomad registry``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table
from hms_nomad.platform.model import PlatformError
from hms_nomad.registry import Registry, Service
from hms_nomad.workflows.mesh import registry as workflow

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


@command(
    app,
    "watch",
    "hms-nomad registry watch receipt-svc",
    "hms-nomad registry watch receipt-svc --output json",
)
def watch(run: Run, name: ServiceArgument) -> None:
    """Follow one service: what the registry says of it now, and again whenever that changes, until Ctrl-C.

    Consul is asked by blocking queries. While it cannot be asked, the last answer comes once more, marked as stale.
    With --output json each answer is a JSON document on a line of its own. It ends when the service is gone.
    """
    with run.session() as session:
        for service in Registry(session).watch(name):
            if run.printer.json:
                run.printer.record("registry-watch", {"service": service})
            else:
                run.printer.text([_change(service)])


@command(
    app,
    "serve",
    "hms-nomad registry serve",
    "hms-nomad registry serve --listen 10.0.0.5:8550",
)
def serve(
    run: Run,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to answer; port 0 takes a free one.")
    ] = "127.0.0.1:8550",
) -> int:
    """Answer GET /v1/services and /v1/services/NAME by HTTP, read-only, until Ctrl-C, for programs in any language.

    Everybody who reaches the port may ask. Answers come from memory, which follows Consul; they say how old they are,
    and that they are stale while Consul cannot be asked. With ?index=INDEX&wait=30s an answer waits for news. In the
    cluster it runs as a job of the platform: hms-nomad platform install registry.
    """
    try:
        from hms_nomad.endpoint import server
    except ImportError as error:
        why = f"this installation has no HTTP server ({error.name}); install it with: pip install 'hms-nomad[registry]'"
        raise PlatformError(why) from None
    from hms_nomad.workflows.session import open_session

    host, port = _place(listen)
    try:
        listener = server.listen(host, port)
    except OSError as error:
        raise typer.BadParameter(f"{listen} cannot be had: {error.strerror or error}", param_hint="--listen") from None
    opened = {"url": f"http://{listen.rpartition(':')[0]}:{listener.getsockname()[1]}"}
    if run.printer.json:
        run.printer.record("registry-serve", {"opened": opened})
    else:
        run.printer.text([f"{opened['url']}/v1/services answers; Ctrl-C ends it"])
    with listener, open_session(run.platform(), patient=False) as session:
        try:
            server.serve(session, listener)
        except KeyboardInterrupt:
            return ExitCode.OK
    return ExitCode.OK


def _place(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, an IPv6 address in brackets. Raises BadParameter."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535 or (":" in host) != host.startswith("["):
        raise typer.BadParameter(f"{text!r} is no HOST:PORT, such as 127.0.0.1:8550", param_hint="--listen")
    return host.strip("[]"), int(port)


def _change(one: Service) -> str:
    """A line for each answer."""
    stale = " (stale: Consul does not answer)" if one.stale else ""
    counted = f"{one.healthy} of {len(one.endpoints)} instances healthy"
    return f"{one.name} {one.version or '-'} {one.release or '-'}: {counted}, {one.url or '-'}{stale}"


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
