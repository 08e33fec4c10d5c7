"""Who deploys, from where, and which revision: for the history that others read."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from pathlib import Path

from hms_nomad.clients.git import git
from hms_nomad.rollout.journal import Author

_REVISIONS = ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT", "GIT_COMMIT")


def author(message: str = "", directory: Path | None = None) -> Author:
    """This user on this machine; the revision is that of ``directory``, or what the pipeline says it builds."""
    return Author(who=f"{_user()}@{socket.gethostname()}", message=message, commit=_revision(directory))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run as a number without a name.
        return str(os.getuid())


def _revision(directory: Path | None) -> str:
    told = next((os.environ[name] for name in _REVISIONS if os.environ.get(name)), "")
    if told or directory is None:
        return told
    return _head(directory)


@functools.cache
def _head(directory: Path) -> str:
    """Asked once for all files of a directory: a process that is started for each costs as much as its deploy."""
    return git(directory, "rev-parse", "HEAD")
