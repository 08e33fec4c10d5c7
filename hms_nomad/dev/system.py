"""One command of the operating system -> its output, or an error that says what was run and what it answered."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from hms_nomad.dev.binaries import search_path
from hms_nomad.dev.errors import StackError

_SECONDS = 60.0


class CommandError(StackError):
    """A command of the operating system refused; ``answer`` is what it said."""

    def __init__(self, arguments: Sequence[str], answer: str) -> None:
        super().__init__(f"{' '.join(arguments)} failed: {answer}")
        self.answer = answer


def run(arguments: Sequence[str], seconds: float = _SECONDS, variables: Mapping[str, str] | None = None) -> str:
    """Run a command and answer its standard output. Raises CommandError when it fails or takes over ``seconds``.

    ``variables`` are added to its environment; it sees few others.
    """
    environment = {"PATH": search_path(), "LC_ALL": "C", "HOME": os.environ.get("HOME", "/"), **(variables or {})}
    try:
        done = subprocess.run(
            list(arguments), capture_output=True, text=True, timeout=seconds, check=False, env=environment
        )
    except FileNotFoundError:
        raise CommandError(arguments, "there is no such program") from None
    except subprocess.TimeoutExpired:
        raise CommandError(arguments, f"no end within {seconds:g} s") from None
    if done.returncode != 0:
        raise CommandError(arguments, " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}")
    return done.stdout


def attempt(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> str | None:
    """As ``run``, but None when the command fails: for things that may be gone already."""
    try:
        return run(arguments, variables=variables)
    except CommandError:
        return None
