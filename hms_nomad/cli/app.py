"""The command line: a table of commands, each loaded only when it is called, and the one place where errors end.

To add a command: a module with an ``app`` (see ``hms_nomad.cli.command``) and a line in the table.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from hms_nomad import __version__
from hms_nomad.output.exit_codes import ExitCode

EVERYDAY = "Everyday"
LOOKING = "Looking"
MACHINE = "Setting up"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command of the table: where it lives, its one line of help, and the panel it is listed in."""

    module: str
    about: str
    panel: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("hms_nomad.cli.init", "Write a first spec, also from a job or a compose file.", EVERYDAY),
    "validate": Entry("hms_nomad.cli.validate", "Check specs, without asking a server.", EVERYDAY),
    "explain": Entry("hms_nomad.cli.explain", "Explain a field of the spec.", EVERYDAY),
    "render": Entry("hms_nomad.cli.render", "Show what a spec stands for, without asking a server.", EVERYDAY),
    "plan": Entry("hms_nomad.cli.plan", "Show what a deploy would change.", EVERYDAY),
    "deploy": Entry("hms_nomad.cli.deploy", "Bring services up, and wait until they are healthy.", EVERYDAY),
    "promote": Entry("hms_nomad.cli.promote", "Let a rollout enter its next step, or take all the traffic.", EVERYDAY),
    "abort": Entry("hms_nomad.cli.abort", "Take a rollout back, traffic first.", EVERYDAY),
    "rollback": Entry("hms_nomad.cli.rollback", "Go back to an earlier release.", EVERYDAY),
    "pause": Entry("hms_nomad.cli.pause", "Let a rollout stay at its step.", EVERYDAY),
    "resume": Entry("hms_nomad.cli.resume", "Let a rollout go on, also one whose process died.", EVERYDAY),
    "scale": Entry("hms_nomad.cli.scale", "Set how many instances run, or see why it is that many.", EVERYDAY),
    "stop": Entry("hms_nomad.cli.stop", "Stop a service and remove what was made for it.", EVERYDAY),
    "status": Entry("hms_nomad.cli.status", "Show what runs, and what is wrong with it.", LOOKING),
    "drift": Entry("hms_nomad.cli.drift", "Find what somebody changed by hand.", LOOKING),
    "top": Entry("hms_nomad.cli.top", "Show what services use and how they answer, live.", LOOKING),
    "watch": Entry("hms_nomad.cli.watch", "Follow a rollout that others drive.", LOOKING),
    "history": Entry("hms_nomad.cli.history", "Show the deploys of a service, and how they ended.", LOOKING),
    "logs": Entry("hms_nomad.cli.logs", "Show what the instances of a service write.", LOOKING),
    "registry": Entry("hms_nomad.cli.registry", "Look up where services live.", LOOKING),
    "mesh": Entry("hms_nomad.cli.mesh", "See who may call whom, and how the sidecars are.", LOOKING),
    "call": Entry("hms_nomad.cli.call", "Make one request to a service in the mesh.", LOOKING),
    "connect": Entry("hms_nomad.cli.connect", "Open a local port that leads to a service in the mesh.", LOOKING),
    "load": Entry("hms_nomad.cli.load", "Send a steady rate of requests to a service in the mesh.", LOOKING),
    "gateway": Entry("hms_nomad.cli.gateway", "Look at the way in from outside.", LOOKING),
    "dev": Entry("hms_nomad.cli.dev", "Run a whole platform on this machine, for development.", MACHINE),
    "platform": Entry("hms_nomad.cli.platform", "Run the platform's own jobs, such as the gateway.", MACHINE),
    "policies": Entry("hms_nomad.cli.policies", "Show the access policies that ship with the program.", MACHINE),
    "audit": Entry("hms_nomad.cli.audit", "See who changed what, and check that the trail is whole.", LOOKING),
    "events": Entry("hms_nomad.cli.events", "Follow the changes as CloudEvents.", LOOKING),
    "lock": Entry("hms_nomad.cli.lock", "See who works on a service, and end a lock that was left behind.", LOOKING),
    "context": Entry("hms_nomad.cli.context", "Choose the cluster that commands talk to.", MACHINE),
}


class Commands(TyperGroup):
    """The root group: lists the table without importing it, and turns every exception into one line and a code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=entry.about, rich_help_panel=entry.panel) for name, entry in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was called, now really loaded."""
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:
            return None, None, rest
        loaded = typer.main.get_command(importlib.import_module(COMMANDS[name].module).app)
        loaded.name = name
        return name, loaded, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Typer would end the process by itself for these two."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _EndedError(error) from error
        except OSError as error:
            raise _EndedError(error) from error

    def main(self, args: Sequence[str] | None = None, *others: Any, **named: Any) -> NoReturn:
        """Run the command line ``args`` and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)
        named["standalone_mode"] = False
        try:
            code = super().main(words, *others, **named)
        except _EndedError as error:
            code = _report(error.cause, words)
        except Exception as error:  # noqa: BLE001 - the one place where every error ends
            code = _report(error, words)
        sys.exit(int(code or ExitCode.OK))


class _EndedError(Exception):
    """Carries an exception past Typer, which handles some by itself."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


def _report(error: BaseException, words: list[str]) -> int:
    """Say what went wrong, as ``words`` of the command line ask for it; answers the exit code."""
    if isinstance(error, TyperException):
        return _report_usage(error, words)
    from hms_nomad.output.faults import classify

    fault = classify(error)
    if "--trace" in words:
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(fault.line, err=True)
    _report_json(fault.as_document(), words)
    return fault.exit_code


def _report_usage(error: TyperException, words: list[str]) -> int:
    """A command line that nobody can follow, or a group without a command, which then shows its help."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if not words or (context is not None and message == context.get_help()):
        typer.echo(message, err=True)
    else:
        hint = f"; see {context.command_path} --help" if context is not None else ""
        typer.echo(f"error: {' '.join(message.split()).rstrip('.')}{hint}", err=True)
    body = {"code": "usage", "exit_code": int(ExitCode.BAD_INPUT), "message": message, "diagnostics": []}
    _report_json(body, words)
    return ExitCode.BAD_INPUT


def _report_json(body: dict[str, Any], words: list[str]) -> None:
    if wants_json(words):
        from hms_nomad.output.document import as_text, document

        typer.echo(as_text(document("error", {"error": body})))


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line, even one that cannot be parsed, asks for JSON."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return any(
        word in ("--output=json", "-ojson") or (word in ("--output", "-o") and following == "json")
        for word, following in pairs
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hms-nomad {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    help="The microservice platform for Nomad, Consul and Vault: one short file in, a meshed, scaled service out.",
    epilog="Each command has a --help with examples. Exit codes: docs/commands.md.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Show the help when no command is named."""
    del version
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
