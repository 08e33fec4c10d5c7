"""``hms-nomad explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.output.document import as_text
from hms_nomad.output.printer import Printer
from hms_nomad.spec.explain import FieldDoc, UnknownFieldError, every_field
from hms_nomad.spec.explain import explain as explain_field

app = new_app()


def complete_field(incomplete: str) -> list[str]:
    """Fields of the language that begin with what was typed."""
    return [field.path for field in every_field() if field.path and field.path.startswith(incomplete)]


@command(app, "explain", "hms-nomad explain", "hms-nomad explain scaling.cpu.high --output json", cluster=False)
def explain(
    run: Run,
    field: Annotated[
        str, typer.Argument(metavar="FIELD", help="Path of the field.", autocompletion=complete_field)
    ] = "",
) -> None:
    """Explain a field of the spec: its meaning, type, default, limits, and the fields below it."""
    try:
        found = explain_field(field)
    except UnknownFieldError as error:
        raise typer.BadParameter(str(error), param_hint="FIELD") from None
    run.printer.show("explain", {"field": found}, lambda: _lines(run.printer, found))


def _lines(printer: Printer, found: FieldDoc) -> Iterator[str]:
    yield printer.style(found.path or "the spec", "bold")
    yield f"  {found.description}"
    yield f"  Type      {found.type}"
    if found.required:
        yield "  Required  yes"
    elif found.default is not None:
        yield f"  Default   {as_text(found.default, indent=None)}"
    for limit in found.limits:
        yield f"  Limit     {limit}"
    for example in found.examples:
        yield f"  Example   {as_text(example, indent=None)}"
    if found.children:
        yield "  Fields"
        yield from (f"    {child}" for child in found.children)
