"""A directory -> the commit that its files are of, for names, labels and provenance."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from hms_nomad.build.context import EPOCH
from hms_nomad.clients.git import git


class Revision(Struct, frozen=True):
    """Where sources come from. ``commit`` and ``source`` (a URL without credentials) are empty when nothing says so.

    ``time`` is that of the commit in seconds since 1970; ``changed`` says that files differ from the commit.
    """

    commit: str = ""
    time: int = EPOCH
    changed: bool = False
    source: str = ""

    @property
    def name(self) -> str:
        """The commit, marked when the files are not quite those."""
        return f"{self.commit}-changed" if self.commit and self.changed else self.commit


def revision_of(directory: Path) -> Revision:
    """The revision of a directory's files; SOURCE_DATE_EPOCH overrules the time, as reproducible builds want it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    fixed = max(int(epoch), EPOCH) if epoch.isdigit() else None
    head = git(directory, "log", "-1", "--format=%H %ct", "--", ".").split()
    if len(head) != 2:
        return Revision(time=fixed or EPOCH)
    # What is ignored or new elsewhere in the repository says nothing about these files.
    changed = bool(git(directory, "status", "--porcelain", "--", "."))
    return Revision(
        commit=head[0],
        time=fixed or max(int(head[1]), EPOCH),
        changed=changed,
        source=_without_credentials(git(directory, "remote", "get-url", "origin")),
    )


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
