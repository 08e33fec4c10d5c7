"""The command line: the table of commands, each loaded only when it is called, and the one place where errors end."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from hms_nomad.cli.quick import version_line
from hms_nomad.cli.table import COMMANDS
from hms_nomad.output.exit_codes import ExitCode


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
            _flush()
        except _EndedError as error:
            code = _report(error.cause, words)
        except Exception as error:  # noqa: BLE001 - the one place where every error ends
            code = _report(error, words)
        sys.exit(int(code or ExitCode.OK))


def _flush() -> None:
    """Write what waits for it while there is still somebody to say that it cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads it any more, which is no fault.
        return
    except OSError as error:
        from hms_nomad.output.printer import OutputLostError

        raise OutputLostError(error) from None


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
    from hms_nomad.output.printer import tame

    fault = classify(error)
    if "--trace" in words:
        typer.echo(tame("".join(traceback.format_exception(error))), err=True, nl=False)
    typer.echo(tame(fault.line), err=True)
    _report_json(fault.as_document(), words)
    return fault.exit_code


def _report_usage(error: TyperException, words: list[str]) -> int:
    """A command line that nobody can follow, or a group without a command, which then shows its help."""
    from hms_nomad.output.printer import tame

    message = error.format_message()
    context = getattr(error, "ctx", None)
    if not words or (context is not None and message == context.get_help()):
        typer.echo(message, err=True)
    else:
        hint = f"; see {context.command_path} --help" if context is not None else ""
        typer.echo(tame(f"error: {' '.join(message.split()).rstrip('.')}{hint}"), err=True)
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
        typer.echo(version_line())
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
