"""``hms-nomad sbom``."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.output.printer import Printer, inert
from hms_nomad.workflows.building import sbom as workflow

app = new_app()


class BillFormat(StrEnum):
    """What stdout carries."""

    TEXT = "text"
    JSON = "json"
    CYCLONEDX = "cyclonedx"


@command(
    app,
    "sbom",
    "hms-nomad sbom receipt-svc",
    "hms-nomad sbom receipt-svc --output cyclonedx > receipt.cdx.json",
    "hms-nomad sbom receipt-svc --release 3 --output json",
)
def sbom(
    run: Run,
    name: ServiceArgument,
    release: Annotated[
        int | None,
        typer.Option("--release", min=1, metavar="NUMBER", help="Another release, as history numbers it."),
    ] = None,
    output: Annotated[
        BillFormat, typer.Option("--output", "-o", help="What stdout carries; cyclonedx is the document as it is kept.")
    ] = BillFormat.TEXT,
) -> None:
    """Show the packages in the image that serves, from the bill of materials that the build put beside it.

    The record of each release keeps the digest of its bill, and what the registry answers is compared with that.
    """
    with run.session() as session:
        found = workflow.bill_of_service(session, name, release)
    if output is BillFormat.CYCLONEDX:
        run.printer.text([found.document.decode()])
        return
    body = {"service": name, "image": found.image, "bill": found.digest, "packages": found.packages}
    run.printer.show("sbom", body, lambda: _lines(run.printer, found))


def _lines(printer: Printer, found: workflow.Bill) -> Iterator[str]:
    count = "1 package" if len(found.packages) == 1 else f"{len(found.packages)} packages"
    yield f"{printer.style(found.service, 'bold')}: {count} in {inert(found.image)}"
    for one in found.packages:
        name = f"{one.group}/{one.name}" if one.group else one.name
        yield f"  {one.kind:<7} {inert(name)} {inert(one.version)}{f'  {inert(one.license)}' if one.license else ''}"
