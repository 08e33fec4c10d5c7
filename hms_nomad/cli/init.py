"""``hms-nomad init``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.output.printer import inert, is_terminal
from hms_nomad.workflows.init import draft as workflow
from hms_nomad.workflows.init.compose import drafts_of_compose
from hms_nomad.workflows.init.job import draft_of_job
from hms_nomad.workflows.init.sources import draft_of_sources
from hms_nomad.workflows.operating.status import not_there

app = new_app()


@command(
    app,
    "init",
    "hms-nomad init",
    "hms-nomad init receipt-svc --allow payment-svc",
    "hms-nomad init receipt-svc --image ghcr.io/gov/receipt:1.0 --port 3000 --path /receipt --instances 2-10",
    "hms-nomad init --from-job legacy-receipt --file receipt.hms.yml",
    "hms-nomad init --from-compose compose.yml",
)
def init(
    run: Run,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of the service: a DNS label.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Container image.")] = None,
    process: Annotated[
        str | None, typer.Option("--command", metavar="LINE", help="Program and arguments, instead of an image.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port on which it listens.")] = None,
    path: Annotated[str | None, typer.Option("--path", help="Path that it answers; all of them when empty.")] = None,
    instances: Annotated[
        str | None, typer.Option("--instances", metavar="MIN-MAX", help="How many instances run, like 2-10.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="NAME", help="Service that may call it; repeatable.")
    ] = None,
    from_job: Annotated[
        str | None, typer.Option("--from-job", metavar="JOB", help="Describe a job that Nomad knows.")
    ] = None,
    group: Annotated[
        str, typer.Option("--group", help="Group of that job; the first with a service when absent.")
    ] = "",
    from_compose: Annotated[
        Path | None, typer.Option("--from-compose", metavar="FILE", help="Describe the services of a compose file.")
    ] = None,
    service: Annotated[str, typer.Option("--service", help="Only this service of the compose file.")] = "",
    file: Annotated[
        Path, typer.Option("--file", metavar="PATH", help="File to write, or a directory for NAME.hms.yml.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a first spec, with comments and with help for editors.

    In a directory with sources it finds out their language, and writes a spec that builds them: port, routes and health
    route are read from the program, and what could not be found is listed.

    Elsewhere, on a terminal, it asks for what no option says: name, image, port, path and number of instances. From a
    job of Nomad or from a compose file it takes over what a spec can hold, and lists all that it cannot, in the file
    too. A file that is there is never replaced without --force.
    """
    if allow and (from_job is not None or from_compose is not None):
        raise typer.BadParameter("who may call it is said in the file, once it is written", param_hint="--allow")
    _one_origin(from_job, from_compose, (name, image, process, port, path, instances), group, service)
    try:
        if from_job is not None:
            drafts: tuple[workflow.Draft, ...] = (_of_job(run, from_job, group),)
        elif from_compose is not None:
            drafts = _of_compose(from_compose, service)
        else:
            asked = any(one is not None for one in (image, process, port, path, instances))
            found = None if asked else draft_of_sources(file if file.is_dir() else file.parent, name)
            drafts = (found or _of_answers(name, image, process, port, path, instances),)
            drafts = (replace(drafts[0], fields={**drafts[0].fields, "allow": allow}),) if allow else drafts
        if len(drafts) > 1 and not file.is_dir():
            raise typer.BadParameter(f"{len(drafts)} services need a directory", param_hint="--file")
        written = _written(drafts, file, force=force)
    except workflow.CannotConvertError as error:
        raise typer.BadParameter(str(error)) from None
    except FileExistsError as error:
        raise typer.BadParameter(f"{error}; --force replaces it", param_hint="--file") from None
    run.printer.show("init", {"written": written}, lambda: _lines(run, written))


def _written(drafts: tuple[workflow.Draft, ...], file: Path, *, force: bool) -> tuple[workflow.Written, ...]:
    try:
        return workflow.write(drafts, file, force=force)
    except FileExistsError:
        raise
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise typer.BadParameter(f"{error.filename or file} cannot be written: {cause}", param_hint="--file") from None


def _one_origin(
    from_job: str | None, from_compose: Path | None, answers: tuple[Any, ...], group: str, service: str
) -> None:
    """What only one origin reads may not be given for another."""
    others = any(answer is not None for answer in answers)
    if (from_job is not None) + (from_compose is not None) + others > 1:
        raise typer.BadParameter("take one of --from-job, --from-compose, and a name with its options")
    if group and from_job is None:
        raise typer.BadParameter("a group belongs to --from-job", param_hint="--group")
    if service and from_compose is None:
        raise typer.BadParameter("a service belongs to --from-compose", param_hint="--service")


def _of_job(run: Run, name: str, group: str) -> workflow.Draft:
    with run.session() as session:
        job = session.nomad.read_job(name)
        if job is None:
            raise not_there(session, name)
        return draft_of_job(job.body, group)


def _of_compose(file: Path, service: str) -> tuple[workflow.Draft, ...]:
    try:
        return drafts_of_compose(file, service)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise typer.BadParameter(f"{file} cannot be read: {cause}", param_hint="--from-compose") from None


def _of_answers(
    name: str | None, image: str | None, process: str | None, port: int | None, path: str | None, instances: str | None
) -> workflow.Draft:
    """The draft of what was said, and of what is asked on a terminal."""
    ask = _prompt if is_terminal(sys.stdin) else _refusal
    fields: dict[str, Any] = {"name": name or ask("Name of the service", "a name", None)}
    fields["version"] = "1.0.0"
    if process is not None:
        if image is not None:
            raise typer.BadParameter("a service runs an image or a command", param_hint="--command")
        fields["command"] = _words(process)
    else:
        fields["image"] = image or ask("Container image", "--image or --command", f"{fields['name']}:1.0.0")
    fields["port"] = port or _number(ask("Port on which it listens", "--port", "8080"))
    asked = path if path is not None else ask("Path that it answers (/ for all)", "", "/")
    if asked and not asked.startswith("/"):
        raise typer.BadParameter(f"{asked!r} must start with a slash; write /{asked}", param_hint="--path")
    if asked not in ("", "/"):
        fields["routes"] = [{"path": asked}]
    fields["scaling"] = _bounds(instances or ask("Instances, from-to", "", "1-4"))
    return workflow.Draft(workflow.literal(fields))


def _prompt(question: str, option: str, usual: str | None) -> str:  # noqa: ARG001 - as _refusal
    return str(typer.prompt(question, default=usual, err=True))


def _refusal(question: str, option: str, usual: str | None) -> str:  # noqa: ARG001 - as _prompt
    """Without a terminal nobody can be asked: what has no harmless default must be said."""
    if option:
        raise typer.BadParameter(f"nobody can be asked here; give {option}")
    return usual or ""


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise typer.BadParameter(f"{line!r}: {error}", param_hint="--command") from None
    if not words:
        raise typer.BadParameter("it names no program", param_hint="--command")
    return words


def _number(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise typer.BadParameter(f"{text!r} is no port", param_hint="--port")
    return int(text)


def _bounds(text: str) -> dict[str, int]:
    low, _, high = text.partition("-")
    if not low.isdigit() or not (high or low).isdigit():
        raise typer.BadParameter(
            f"{text!r} is no number of instances; write for example 2-10", param_hint="--instances"
        )
    bounds = {"min": int(low), "max": int(high or low)}
    if bounds["min"] > bounds["max"] or bounds["max"] == 0:
        raise typer.BadParameter(
            f"{text!r} leaves no number of instances; write the smaller number first, for example 2-10",
            param_hint="--instances",
        )
    return bounds


def _lines(run: Run, written: tuple[workflow.Written, ...]) -> Iterator[str]:
    tick = run.printer.style("✓", "green")
    for one in written:
        yield f"{tick} {one.file} written"
        if one.left:
            yield f"{one.title} from {one.service}:" if not one.builds else f"{one.title}:"
            yield from (f"  - {inert(each)}" for each in one.left)
    verb = "deploy" if all(one.builds for one in written) else "validate"
    yield f"Next: hms-nomad {verb} {' '.join(shlex.quote(one.file) for one in written)}"
