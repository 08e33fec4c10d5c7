"""``hms-nomad exec``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.clients.nomad_exec import Resized, Typed
from hms_nomad.compile.names import TASK
from hms_nomad.output.keyboard import keys_and_sizes, piped, raw_terminal
from hms_nomad.output.printer import is_terminal
from hms_nomad.workflows.operating.execute import Chosen, Dialogue, Wish, choose_instance, run_command

app = new_app()

_SHELL = ("/bin/sh",)


@command(
    app,
    "exec",
    "hms-nomad exec receipt-svc",
    "hms-nomad exec receipt-svc --canary -- env",
    "hms-nomad exec receipt-svc --alloc 3c9c51e1 -- sh -c 'ls /proc | wc -l'",
    "hms-nomad exec db -- psql -U app < schema.sql",
    changes=True,
)
def run_in_instance(
    run: Run,
    name: ServiceArgument,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND...", help="Program and its arguments; /bin/sh without.")
    ] = None,
    alloc: Annotated[
        str, typer.Option("--alloc", metavar="ID", help="This instance, by the beginning of its id.")
    ] = "",
    canary: Annotated[bool, typer.Option("--canary", help="An instance of the release that is rolled out.")] = False,
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="Task to run it in: app, or a helper of the spec.")
    ] = TASK,
    tty: Annotated[
        bool | None,
        typer.Option("--tty/--no-tty", "-t/-T", help="A terminal for the command; by default where this is one."),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin/--no-stdin", help="Hand on what is typed, or piped in.")] = True,
) -> int:
    """Run a command in a running instance of a service, such as a shell.

    Without --alloc or --canary it is the newest healthy instance that takes traffic. What the command writes goes to
    stdout and stderr, and its exit code is that of this command. The audit trail notes who ran which program where;
    Nomad's own log has all its words, so hand secrets over by stdin. With --output json, what it wrote and its exit
    code are one document.
    """
    if run.printer.json and tty:
        raise typer.BadParameter("a terminal has no place in a JSON document", param_hint="--tty")
    at_terminal = is_terminal(sys.stdin) and is_terminal(sys.stdout)
    if tty and not at_terminal:
        raise typer.BadParameter("stdin and stdout have to be a terminal for that", param_hint="--tty")
    wish = Wish(
        words=tuple(words or _SHELL),
        task=task,
        allocation=alloc,
        canary=canary,
        tty=tty if tty is not None else at_terminal and stdin and not run.printer.json,
    )
    with run.session() as session:
        chosen = choose_instance(session, name, wish, lambda event: run.printer.note(event.message))
        run.printer.note(f"in {chosen.allocation[:8]} on {chosen.node}, task {chosen.task}")
        heard = _Kept() if run.printer.json else _Passed()
        with ExitStack() as stack:
            incoming = _incoming(stack, wish, stdin=stdin)
            code = run_command(session, chosen, wish, Dialogue(incoming, heard.wrote))
    if isinstance(heard, _Kept):
        run.printer.show("exec", _document(chosen, wish, code, heard), list)
    return code


def _incoming(stack: ExitStack, wish: Wish, *, stdin: bool) -> Iterator[Typed | Resized]:
    if not stdin:
        return iter((Typed(b""),))
    if not wish.tty:
        return piped()
    pieces = stack.enter_context(keys_and_sizes())
    stack.enter_context(raw_terminal())
    return pieces


class _Passed:
    """Pieces go on as they come, byte by byte what was written."""

    def wrote(self, stream: str, data: bytes) -> None:
        target = sys.stdout if stream == "stdout" else sys.stderr
        target.buffer.write(data)
        target.buffer.flush()


class _Kept:
    """Pieces are kept for the document."""

    def __init__(self) -> None:
        self._streams: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    def wrote(self, stream: str, data: bytes) -> None:
        self._streams[stream] += data

    def text(self, stream: str) -> str:
        """All that was written to a stream; what is no UTF-8 is replaced."""
        return self._streams[stream].decode("utf-8", "replace")


def _document(chosen: Chosen, wish: Wish, code: int, heard: _Kept) -> dict[str, object]:
    return {
        "service": chosen.service,
        "allocation": chosen.allocation,
        "node": chosen.node,
        "task": chosen.task,
        "command": list(wish.words),
        "exit_code": code,
        "stdout": heard.text("stdout"),
        "stderr": heard.text("stderr"),
    }
