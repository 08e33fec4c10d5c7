"""What the shell offers after Tab: names from the cluster, contexts and files. Silent and quick, whatever happens."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import typer

_PATIENCE_SECONDS = 1.0


def complete_service(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the cluster's services that begin with what was typed; none when the cluster does not answer soon."""
    with _silence():
        from hms_nomad.platform.context import load_platform
        from hms_nomad.workflows.fleet import service_names
        from hms_nomad.workflows.session import open_session

        platform = load_platform(ctx.params.get("context"))
        if namespace := ctx.params.get("namespace"):
            platform = platform.changed(namespace=namespace)
        with open_session(platform) as session:
            return [name for name in service_names(session) if name.startswith(incomplete)]
    return []


def complete_context(incomplete: str) -> list[str]:
    """Names of contexts that begin with what was typed."""
    with _silence():
        from hms_nomad.platform.context import list_contexts

        return [name for name in list_contexts().names if name.startswith(incomplete)]
    return []


def complete_spec(incomplete: str) -> list[str]:
    """Specs, JSON files and folders whose path begins with what was typed."""
    with _silence():
        typed = Path(incomplete)
        folder, start = (typed, "") if incomplete.endswith("/") else (typed.parent, typed.name if incomplete else "")
        prefix = incomplete[: len(incomplete) - len(start)]
        return [
            f"{prefix}{entry.name}/" if entry.is_dir() else f"{prefix}{entry.name}"
            for entry in sorted(folder.iterdir())
            if entry.name.startswith(start)
            and (start.startswith(".") or not entry.name.startswith("."))
            and (entry.is_dir() or entry.suffix in (".yml", ".yaml", ".json"))
        ]
    return []


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """An error in the middle of a command line that is being typed helps nobody, and nor does a long wait."""
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
    try:
        with contextlib.suppress(Exception, _GivenUpError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _give_up(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _GivenUpError


class _GivenUpError(BaseException):
    """The time is over. No ordinary exception: those are tried again on the way."""
