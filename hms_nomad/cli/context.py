"""``hms-nomad context``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_context
from hms_nomad.output.printer import Printer
from hms_nomad.output.table import table
from hms_nomad.platform.context import Contexts, contexts_directory, list_contexts, use_context
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.operating.contexts import ContextView, view_context

app = new_app("Choose the cluster that commands talk to.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the context.", autocompletion=complete_context)
]
OptionalNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Name of the context.", autocompletion=complete_context)
]


@command(app, "list", "hms-nomad context list", "hms-nomad context list --output json", cluster=False)
def list_all(run: Run) -> None:
    """List the contexts; the current one is marked."""
    found = list_contexts()
    run.printer.show("context", {"contexts": found.names, "current": found.current}, lambda: _names(found))


@command(app, "use", "hms-nomad context use dev", cluster=False)
def use(run: Run, name: NameArgument) -> None:
    """Make a context the current one: commands without --context talk to its cluster from now on."""
    use_context(name)
    run.printer.show("context", {"current": name}, lambda: [f"Commands talk to {name} now"])


@command(
    app,
    "show",
    "hms-nomad context show",
    "hms-nomad context show dev --output json",
    "hms-nomad context show --origin",
    cluster=False,
)
def show(
    run: Run,
    name: OptionalNameArgument = None,
    origin: Annotated[bool, typer.Option("--origin", help="Every field, and where its value comes from.")] = False,
) -> None:
    """Show where commands go, and where each address and token comes from. Tokens are not shown.

    A variable of the environment wins over the context's file, and that over the default.
    """
    view = view_context(name)
    body = {
        "name": view.name,
        "chosen_by": view.chosen_by,
        "namespace": view.namespace,
        "region": view.region,
        "servers": view.servers,
        "platform": as_data(view.platform),
    } | ({"origins": view.origins} if origin else {})
    run.printer.show("context", {"context": body}, lambda: _lines(run.printer, view, origin=origin))


def _names(found: Contexts) -> Iterator[str]:
    if not found.names:
        yield f"no contexts yet; hms-nomad dev up makes one, or write one to {contexts_directory() / 'contexts'}"
    for name in found.names:
        yield f"* {name}" if name == found.current else f"  {name}"


def _lines(printer: Printer, view: ContextView, *, origin: bool) -> Iterator[str]:
    yield f"Context    {view.name or '-'} ({view.chosen_by})"
    yield f"Namespace  {view.namespace}"
    yield f"Region     {view.region}"
    yield ""
    rows = [(one.server, one.address, one.address_from, one.token_from) for one in view.servers]
    yield from table(printer, ("SERVER", "ADDRESS", "ADDRESS FROM", "TOKEN FROM"), rows)
    if origin:
        yield ""
        fields = [(one.field, json.dumps(one.value, ensure_ascii=False), one.source) for one in view.origins]
        yield from table(printer, ("FIELD", "VALUE", "FROM"), fields)
