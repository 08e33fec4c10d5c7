"""``hms-nomad provenance``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import Printer, inert
from hms_nomad.workflows.building import provenance as workflow
from hms_nomad.workflows.building.signatures import read_public_keys, trusted_keys

app = new_app()

_SIGNS = {
    workflow.LinkState.VERIFIED: ("✓", "green"),
    workflow.LinkState.UNVERIFIED: ("?", "yellow"),
    workflow.LinkState.MISMATCH: ("✗", "red"),
}


@command(
    app,
    "provenance",
    "hms-nomad provenance receipt-svc",
    "hms-nomad provenance receipt-svc --key release.pub --output json",
)
def provenance(
    run: Run,
    name: ServiceArgument,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PUB", help="A public key (PEM) to trust besides those of the rules."),
    ] = None,
) -> int:
    """Show where what runs now comes from: release, job, image, signature, statement, packages and commit.

    Each link is checked: the digest that the job has against that of its release, the registry's bytes against the
    digest, the signature and the statement of the build (SLSA provenance) against the keys that are trusted, the bill
    of materials and the commit against the statement.

    Ends with 0 when all links hold, with 1 when one could not be verified because it is missing, and with 8 when one
    contradicts another.
    """
    with run.session() as session:
        keys = (*read_public_keys(key or ()), *trusted_keys(session))
        found = workflow.provenance(session, name, keys)
    states = {chain.state for chain in found}
    worst = next((one for one in reversed(workflow.LinkState) if one in states), workflow.LinkState.UNVERIFIED)
    body = {"service": name, "state": worst, "chains": [_document(chain) for chain in found]}
    run.printer.show("provenance", body, lambda: _lines(run.printer, name, found))
    if worst is workflow.LinkState.MISMATCH:
        broken = sorted({link.name for chain in found for link in chain.links if link.state is worst})
        run.printer.warn(f"error [provenance-mismatch]: {name} does not run what its {', '.join(broken)} says")
        return ExitCode.DENIED
    return ExitCode.OK if worst is workflow.LinkState.VERIFIED else ExitCode.CHANGES


def _document(chain: workflow.Chain) -> dict[str, object]:
    return {
        "task": chain.task,
        "runs": chain.runs,
        "job_version": chain.job_version,
        "instances": chain.instances,
        "state": chain.state,
        "links": chain.links,
    }


def _lines(printer: Printer, name: str, found: Sequence[workflow.Chain]) -> Iterator[str]:
    for chain in found:
        yield printer.style(f"{name}, task {inert(chain.task)}, version {chain.job_version} of the job", "bold")
        for link in chain.links:
            sign, color = _SIGNS[link.state]
            yield f"  {printer.style(sign, color)} {link.name:<9}  {inert(link.text)}"
