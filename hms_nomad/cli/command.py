"""A function -> a command: what all commands share is added here, so that a command's module says only its own part."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_type_hints

import typer
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.interrupts import time_limit
from hms_nomad.cli.options import (
    ColorOption,
    ConfirmOption,
    ContextOption,
    LockWaitOption,
    NamespaceOption,
    OutputOption,
    QuietOption,
    TimeLimitOption,
    TraceOption,
)
from hms_nomad.output.printer import Color, Format, Look, Printer

if TYPE_CHECKING:
    from hms_nomad.platform.model import Platform
    from hms_nomad.workflows.session import Session

_LOOK: dict[str, tuple[Any, Any]] = {
    "output": (OutputOption, Format.TEXT),
    "quiet": (QuietOption, False),
    "color": (ColorOption, Color.AUTO),
    "trace": (TraceOption, False),
    "timeout": (TimeLimitOption, None),
}
_WRITES: dict[str, tuple[Any, Any]] = {"lock_wait": (LockWaitOption, None)}
_CHANGES: dict[str, tuple[Any, Any]] = {"confirm": (ConfirmOption, None)}
_CLUSTER: dict[str, tuple[Any, Any]] = {"context": (ContextOption, None), "namespace": (NamespaceOption, None)}


class Run(Struct, frozen=True):
    """One run of a command: its printer, and the way to the cluster it was pointed at.

    ``changes`` says whether it is about to change that cluster, ``confirmed`` is what ``--confirm`` says.
    """

    printer: Printer
    context: str | None = None
    namespace: str | None = None
    lock_wait: float | None = None
    changes: bool = False
    confirmed: str | None = None

    def looking(self) -> Run:
        """The same run, which changes nothing after all."""
        return replace(self, changes=False)

    def confirm(self, *platforms: Platform) -> None:
        """Ask for the names of those that are production clusters, where this run changes them. Raises BadParameter."""
        if self.changes:
            from hms_nomad.cli.production import confirm_production

            confirm_production(platforms, self.confirmed)

    def platform(self) -> Platform:
        """The platform of ``--context`` and ``--namespace``. Raises ContextError."""
        return self.platform_of(self.context)

    def platform_of(self, context: str | None) -> Platform:
        """The platform of a context, with the ``--namespace`` of this run. Raises ContextError."""
        from hms_nomad.platform.context import load_platform

        platform = load_platform(context)
        return platform.changed(namespace=self.namespace) if self.namespace else platform

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The clients of that platform. Raises BadParameter for a change of production that is not confirmed."""
        from hms_nomad.workflows.session import open_session

        platform = self.platform()
        self.confirm(platform)
        with open_session(platform, self.lock_wait or 0.0) as session:
            yield session


def new_app(about: str = "") -> typer.Typer:
    """The Typer app of one command module; ``about`` is the help of a group of commands."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, help=about, pretty_exceptions_enable=False)
    if about:
        app.callback()(lambda: None)
    return app


def command(
    app: typer.Typer, name: str, *examples: str, cluster: bool = True, writes: bool = False, changes: bool = False
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Register a function as a command of ``app``.

    The function's docstring is the help and ``examples`` stand below it. Its first parameter is the Run; what it
    returns is the exit code (None: 0). The options of every command are added behind its own; ``cluster`` adds those
    that choose one, ``changes`` those of a command that changes it, and ``writes`` also those of one that takes the
    lock of a service for that. A command with an option of its own for one of them, such as further forms of
    ``--output``, keeps it.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        hints = get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())[1:]
        changing = writes or changes
        shared = (_WRITES if writes else {}) | (_CHANGES if changing else {}) | (_CLUSTER if cluster else {}) | _LOOK
        added = {key: option for key, option in shared.items() if key not in hints}

        @functools.wraps(function)
        def run(**values: Any) -> int | None:
            chosen = {key: values.get(key) for key in shared}
            form = Format.JSON if chosen["output"] == Format.JSON else Format.TEXT
            printer = Printer(Look(form, bool(chosen["quiet"]), chosen["color"] or Color.AUTO))
            rest = {key: value for key, value in values.items() if key not in added}
            chosen_run = Run(
                printer,
                chosen.get("context"),
                chosen.get("namespace"),
                chosen.get("lock_wait"),
                changing,
                chosen.get("confirm"),
            )
            # A command with a time limit of its own knows better what it waits for.
            with time_limit(chosen["timeout"] if "timeout" in added else None):
                return function(chosen_run, **rest)

        parameters = [p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters += [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
            for key, (option, default) in added.items()
        ]
        del run.__wrapped__  # Typer would look through to the function's own signature.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name, help=_paragraphs(inspect.getdoc(function) or ""), epilog=_shown(examples))(run)
        return function

    return register


def _paragraphs(text: str) -> str:
    """A docstring with one line a paragraph: the terminal's width breaks it, not the source's."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _shown(examples: tuple[str, ...]) -> str:
    """Examples as the help prints them, a line each; the first character keeps plain help from wrapping them."""
    return "\n".join(["\b", "Examples:", *(f"  $ {example}" for example in examples)])
