"""``hms-nomad dev``."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import TimeoutOption
from hms_nomad.dev import stack
from hms_nomad.dev.contexts import admin_context
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import Printer
from hms_nomad.output.progress import shown
from hms_nomad.output.table import table
from hms_nomad.workflows.platform.bootstrap import prepare

app = new_app("Run a whole platform on this machine, for development: Consul, Nomad, Vault and Envoy.")

_COLORS = {"running": ("green",), "silent": ("yellow",), "sealed": ("yellow",), "dead": ("red",)}


class NomadKind(StrEnum):
    """Which Nomad a stack has."""

    REAL = "real"
    EMBEDDED = "embedded"


NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the stack, and of its context.")]
StateDirOption = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", help="Where the stack keeps its state; the user's state directory."),
]


@command(
    app,
    "up",
    "hms-nomad dev up",
    "hms-nomad dev up --name second --port-offset 1000 --no-vault",
    "hms-nomad dev up --registry",
    "hms-nomad dev up --nomad embedded",
    "hms-nomad dev up --secure",
    "hms-nomad dev up --no-download --output json",
    cluster=False,
)
def up(
    run: Run,
    name: NameOption = "dev",
    port_offset: Annotated[
        int, typer.Option("--port-offset", metavar="N", help="Added to every server's usual port.")
    ] = 0,
    vault: Annotated[
        bool | None, typer.Option("--vault/--no-vault", help="Demand a Vault, or leave it out; else where found.")
    ] = None,
    docker: Annotated[
        bool | None, typer.Option("--docker/--no-docker", help="Demand Docker, or leave it out; else where found.")
    ] = None,
    nomad: Annotated[
        NomadKind | None,
        typer.Option(
            "--nomad", help="The real one, or the small embedded agent; by default the real one where it is found."
        ),
    ] = None,
    registry: Annotated[
        bool, typer.Option("--registry", help="Add a registry of images, for what is built on this machine.")
    ] = False,
    secure: Annotated[
        bool, typer.Option("--secure", help="Access lists that deny by default, TLS on all servers, encrypted gossip.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download/--no-download", help="Fetch what the machine lacks: releases, or a source.")
    ] = True,
    state_dir: StateDirOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Bring the stack up, and make its context the current one where no other is.

    The servers listen on addresses of this machine only. Where the stack runs already, only what died is started
    again.
    """
    settings = stack.StackSettings(
        name=name,
        state_dir=state_dir or Path(),
        port_offset=port_offset,
        vault=vault,
        docker=docker,
        registry=registry,
        nomad=nomad.value if nomad else None,
        secure=secure,
        download=download,
    )
    settings = replace(settings, timeout=timeout) if timeout else settings
    with shown(run.printer, f"Bringing up {name}") as report:
        status = stack.up(settings, report)
        if status.secure:
            prepare(admin_context(status.context), report)
    run.printer.show("dev", {"stack": status}, lambda: _up_lines(run.printer, status))


@command(app, "down", "hms-nomad dev down", "hms-nomad dev down --name second --output json", cluster=False)
def down(run: Run, name: NameOption = "dev", state_dir: StateDirOption = None) -> int:
    """Take the stack down and remove everything that it made: processes, interface, state and context."""
    with shown(run.printer, f"Taking down {name}") as report:
        result = stack.down(stack.StackSettings(name=name, state_dir=state_dir or Path()), report)
    run.printer.show("dev", {"result": result}, lambda: _down_lines(run.printer, result))
    return ExitCode.UNKNOWN if result.leftovers else ExitCode.OK


@command(app, "status", "hms-nomad dev status", "hms-nomad dev status --output json", cluster=False)
def status(run: Run, name: NameOption = "dev", state_dir: StateDirOption = None) -> None:
    """Show the servers of the stack, their addresses and their logs."""
    found = stack.status(stack.StackSettings(name=name, state_dir=state_dir or Path()))
    run.printer.show("dev", {"stack": found}, lambda: _status_lines(run.printer, found))


def _up_lines(printer: Printer, status: stack.StackStatus) -> Iterator[str]:
    tick = printer.style("✓", "green")
    yield f"{tick} {status.name} is up" if status.changed else f"{tick} {status.name} is up already: nothing to do"
    for server in status.servers:
        yield f"{server.name.capitalize():<7} {server.address}"
    if status.nomad == "embedded":
        yield "        it is the embedded agent, for development only: docs/embedded-agent.md says where it is simpler"
    yield f"Context {status.context}"
    if status.secure:
        yield f"        {status.context}-admin, with the management tokens, for setting up"
    example = Path("examples/receipt") / ("receipt.hms.yml" if status.docker else "receipt-process.hms.yml")
    yield f"Next: hms-nomad deploy {example if example.is_file() else 'SPEC'} --context {status.context}"


def _down_lines(printer: Printer, result: stack.DownResult) -> Iterator[str]:
    tick = printer.style("✓", "green")
    yield f"{tick} {result.name} is down" if result.changed else f"{tick} {result.name} does not run: nothing to do"
    if result.leftovers:
        yield f"{printer.style('✗', 'red')} left behind: {', '.join(result.leftovers)}; run the same command again"


def _status_lines(printer: Printer, found: stack.StackStatus) -> Iterator[str]:
    yield f"{printer.style(found.name, 'bold')} is {found.state}, state in {found.state_dir}"
    if not found.servers:
        return
    docker = "with Docker" if found.docker else "without Docker"
    secured = ", access lists and TLS" if found.secure else ""
    yield f"Context {found.context or '-'}, sidecars under {found.sidecar or '-'}, {docker}{secured}"
    yield ""
    rows = [
        (one.name, one.state, one.version, one.address, str(one.pid or ""), one.binary, one.log_file)
        for one in found.servers
    ]
    yield from table(printer, ("SERVER", "STATE", "VERSION", "ADDRESS", "PID", "PROGRAM", "LOG"), rows, _COLORS)
