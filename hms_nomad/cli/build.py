"""``hms-nomad build``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import (
    EnvironmentOption,
    SignOption,
    SpecsArgument,
    TimeoutOption,
    VariablesOption,
    parse_variables,
)
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.progress import shown
from hms_nomad.spec.diagnostics import Level
from hms_nomad.workflows.building import build as workflow
from hms_nomad.workflows.building.archive import Packed, build_archive
from hms_nomad.workflows.specs import SpecFile, read_specs

if TYPE_CHECKING:
    from hms_nomad.build.signing import Signer

app = new_app()


@command(
    app,
    "build",
    "hms-nomad build receipt.hms.yml",
    "hms-nomad build receipt.hms.yml --no-push",
    "hms-nomad build receipt.hms.yml --eject",
    "hms-nomad build receipt.hms.yml --sign release.key",
    "hms-nomad build services/ --env staging --output json",
)
def build(
    run: Run,
    specs: SpecsArgument,
    push: Annotated[
        bool, typer.Option("--push/--no-push", help="Send it to its registry or store, or keep it here.")
    ] = True,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Take over steps that ran before.")] = True,
    eject: Annotated[
        bool, typer.Option("--eject", help="Only write the Dockerfile that would be made, for you to keep and change.")
    ] = False,
    sign: SignOption = None,
    timeout: TimeoutOption = None,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> None:
    """Build what specs with a build section run: an image, or an archive for a service with a command.

    Without a Dockerfile one is made for the language of the sources: Python, Node, Go, Java, or a static program. The
    same sources give the same digest. An image is pushed under its tag and, where the files are just those of a commit,
    under git-COMMIT. deploy does all this by itself for an image that its registry does not have.

    A bill of materials (CycloneDX) goes beside the image. With --sign the image is signed, and so is a statement of who
    built it from which commit (SLSA provenance); sbom and provenance show them for what runs.
    """
    from hms_nomad.apply.interrupts import time_limit

    files = [file for file in read_specs(specs, env, parse_variables(var)) if file.spec.build is not None]
    if not files:
        raise typer.BadParameter("none of these specs has a build section; add build: {}", param_hint="SPEC")
    for file in files:
        for finding in file.diagnostics:
            if finding.level is Level.WARNING:
                run.printer.note(str(finding))
    if eject:
        written = tuple(_eject(run, file) for file in files if not file.spec.command)
        run.printer.show("build", {"written": written}, lambda: (f"✓ {file} written" for file in written))
        return
    key = _signing_key(sign, files) if sign else None
    built: list[workflow.Built | Packed] = []
    with time_limit(timeout), run.session() as session:
        for file in files:
            with shown(run.printer, f"Building {file.spec.name} {file.spec.version}") as report:
                if file.spec.command:
                    built.append(build_archive(session, file, report, publish=push))
                else:
                    options = workflow.BuildOptions(push=push, cache=cache, key=key)
                    built.append(workflow.build_image(session, file, options, report))
    run.printer.show("build", {"built": built}, lambda: _lines(run.printer, built))


def _signing_key(reference: str, files: list[SpecFile]) -> Signer:
    """The key of ``--sign``; what reads it is loaded only now."""
    from hms_nomad.workflows.building.signatures import read_signing_key

    if archives := [file.spec.name for file in files if file.spec.command]:
        raise typer.BadParameter(f"only images are signed, and {archives[0]} is an archive", param_hint="--sign")
    return read_signing_key(reference)


def _eject(run: Run, file: SpecFile) -> str:
    recipe = workflow.recipe_of(file, run.platform())
    target = workflow.directory_of(file) / "Dockerfile"
    if not recipe.made:
        raise typer.BadParameter(f"{file.spec.name} has a Dockerfile already", param_hint="--eject")
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(recipe.dockerfile)
    except FileExistsError:
        raise typer.BadParameter(f"{target} is there already", param_hint="--eject") from None
    return str(Path(target))


def _lines(printer: Printer, built: list[workflow.Built | Packed]) -> Iterator[str]:
    tick = printer.style("✓", "green")
    for one in built:
        if isinstance(one, Packed):
            word = "published" if one.published else "packed; it is in its store already, or was not to be published"
            yield f"{tick} {one.service}: {one.files} files {word}"
            yield f"  {inert(one.url)}"
            yield f"  {one.checksum}"
            continue
        word = "built and pushed" if one.pushed else "built, in the engine of this machine"
        yield f"{tick} {one.service}: {inert(one.image)} {word}"
        yield f"  {one.digest}"
        if one.evidence.bill:
            yield f"  bill of materials {one.evidence.bill}"
        if one.evidence.statement:
            yield f"  signed, with the statement {one.evidence.statement}"
        if one.made_dockerfile:
            yield "  its Dockerfile was made; see and change it with --eject"
