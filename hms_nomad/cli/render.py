"""``hms-nomad render``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import EnvironmentOption, SpecArgument, VariablesOption, parse_variables
from hms_nomad.output.document import as_text
from hms_nomad.output.printer import Printer
from hms_nomad.output.table import table
from hms_nomad.spec.origins import Origin
from hms_nomad.workflows.planning import render as workflow
from hms_nomad.workflows.specs import read_origins, read_spec

app = new_app()


class Form(StrEnum):
    """How the objects are written."""

    JSON = "json"
    HCL = "hcl"
    YAML = "yaml"


@command(
    app,
    "render",
    "hms-nomad render receipt.hms.yml --format json",
    "hms-nomad render receipt.hms.yml --format hcl | nomad job validate -",
    "hms-nomad render receipt.hms.yml --env staging --show-origin",
)
def render(
    run: Run,
    spec: SpecArgument,
    form: Annotated[
        Form, typer.Option("--format", "-f", help="json and yaml: all objects; hcl: the Nomad job alone.")
    ] = Form.YAML,
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="List each value of the spec with what gave it, instead.")
    ] = False,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> None:
    """Show what a spec stands for: the Nomad job and Consul's entries. No server is asked.

    The same file gives the same bytes. With --output json the form that --format names is wrapped in a document.
    """
    variables = parse_variables(var)
    if show_origin:
        origins = read_origins(spec, env, variables)
        run.printer.show("render", {"origins": origins}, lambda: _origins(run.printer, origins))
        return
    found = read_spec(spec, env, variables)
    platform = run.platform()
    objects = workflow.render(found, platform)
    text = workflow.render_hcl(found, platform) if form is Form.HCL else ""
    run.printer.show(
        "render",
        {"service": found.name, "format": form, "rendered": text or objects},
        lambda: [(text or _written(objects, form)).rstrip("\n")],
    )


def _origins(printer: Printer, origins: Sequence[Origin]) -> Iterator[str]:
    rows = [
        (one.path, as_text(one.value, indent=None), f"{one.kind} {one.detail}".rstrip(), str(one.position or ""))
        for one in origins
    ]
    yield from table(printer, ("FIELD", "VALUE", "FROM", "PLACE"), rows)


def _written(objects: dict[str, Any], form: Form) -> str:
    if form is Form.JSON:
        return as_text(objects)
    import yaml

    return yaml.safe_dump(_copied(objects), sort_keys=False, allow_unicode=True)


def _copied(value: Any) -> Any:
    """A deep copy with every value its own, so that YAML needs no anchors for values that occur twice."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
