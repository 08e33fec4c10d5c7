"""A directory of sources -> what git knows of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hms_nomad.clients.children import child_environment

_SECONDS = 5.0


def git(directory: Path, *words: str) -> str:
    """What git prints for ``words`` in a directory, without the ends of lines; "" where it has no answer.

    It gets no token: a repository's own settings may name programs that git runs.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *words],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
