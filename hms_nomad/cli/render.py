"""``hms-nomad render``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import SpecArgument
from hms_nomad.output.document import as_text
from hms_nomad.workflows import render as workflow
from hms_nomad.workflows.specs import read_spec

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
)
def render(
    run: Run,
    spec: SpecArgument,
    form: Annotated[
        Form, typer.Option("--format", "-f", help="json and yaml: all objects; hcl: the Nomad job alone.")
    ] = Form.YAML,
) -> None:
    """Show what a spec stands for: the Nomad job and Consul's entries. No server is asked.

    The same file gives the same bytes. With --output json the form that --format names is wrapped in a document.
    """
    found = read_spec(spec)
    platform = run.platform()
    objects = workflow.render(found, platform)
    text = workflow.render_hcl(found, platform) if form is Form.HCL else ""
    run.printer.show(
        "render",
        {"service": found.name, "format": form, "rendered": text or objects},
        lambda: [(text or _written(objects, form)).rstrip("\n")],
    )


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
