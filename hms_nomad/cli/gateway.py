"""``hms-nomad gateway``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table
from hms_nomad.workflows.platform import gateway as workflow
from hms_nomad.workflows.platform.gateway_rows import GatewayRoute

app = new_app("Look at the way in from outside.")

_COLORS = {"passing": ("green",), "warning": ("yellow",), "critical": ("red",), "bound": ("green",)}
_MARKS = {"exact": "{}", "prefix": "{}...", "regex": "~{}"}


@command(app, "status", "hms-nomad gateway status", "hms-nomad gateway status --output json")
def status(run: Run) -> None:
    """Show the gateway's address, its instances, and what is wrong with it."""
    with run.session() as session:
        state = workflow.gateway_status(session)
    run.printer.show("gateway", {"gateway": state}, lambda: _state(run.printer, state))


@command(app, "routes", "hms-nomad gateway routes", "hms-nomad gateway routes --output json")
def routes(run: Run) -> None:
    """Show every path that can be reached from outside, and the service behind it.

    A path with "..." behind it stands for all that begin with it, one after "~" is a regular expression.
    """
    with run.session() as session:
        found = workflow.gateway_routes(session)
    run.printer.show("gateway", {"routes": found}, lambda: _routes(run.printer, found))


def _state(printer: Printer, state: workflow.GatewayState) -> Iterator[str]:
    if not state.name:
        yield "this platform has no gateway: its context says gateway: null"
        return
    if not state.installed:
        yield f"{state.name} is not installed; install it with: hms-nomad platform install gateway"
        return
    yield f"{printer.style(state.name, 'bold')} {state.url or '(no instance)'}"
    for problem in state.problems:
        yield f"{printer.style('problem', 'red')} {inert(problem)}"
    if state.instances:
        yield ""
        shared = any(one.own for one in state.instances)
        rows = [
            (one.instance, one.node, one.address, *((one.own,) if shared else ()), one.status)
            for one in state.instances
        ]
        columns = ("INSTANCE", "NODE", "ADDRESS", *(("OWN ADDRESS",) if shared else ()), "HEALTH")
        yield from table(printer, columns, rows, _COLORS)


def _routes(printer: Printer, found: Sequence[GatewayRoute]) -> Iterator[str]:
    if not found:
        yield "nothing can be reached from outside; a route is opened with public: true in a spec"
        return
    rows = [
        (one.method, _MARKS[one.match].format(one.path), one.service, "bound" if one.bound else one.reason, one.url)
        for one in found
    ]
    yield from table(printer, ("METHOD", "PATH", "SERVICE", "STATE", "URL"), rows, _COLORS)
