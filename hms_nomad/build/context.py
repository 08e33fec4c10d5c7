"""A directory -> the files of it that are built, and an archive of them that is the same bytes every time.

Patterns are those of .dockerignore (https://docs.docker.com/build/concepts/context/#dockerignore-files).
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from hms_nomad.build.errors import BuildError

IGNORE_FILE = ".dockerignore"
EPOCH = 315532800
"""The first of January 1980, for sources that no commit dates: archives know no earlier time."""

_NEVER = (
    ".git",
    ".hg",
    ".svn",
    "**/__pycache__",
    ".venv",
    "**/.env",
    "**/.env.*",
    "**/.npmrc",
    "**/.pypirc",
    "**/.netrc",
)
"""What no build needs, and what mostly holds credentials; a pattern with ! takes it in all the same."""

_OURS = ("*.hms.yml", "*.hms.yaml", "*.hms.json", "hms.schema.json", IGNORE_FILE)
_MOST_FILES = 100_000


class Sources(Struct, frozen=True):
    """The files of a build by their path in it, sorted; ``time`` is that of all of them, in seconds since 1970."""

    root: Path
    files: tuple[str, ...]
    time: int


def sources_in(directory: Path, exclude: Iterable[str], time: int) -> Sources:
    """The files below a directory that are built. Raises BuildError when there are none, or far too many."""
    if not directory.is_dir():
        raise BuildError(f"{directory} is no directory: build.context names one relative to the spec")
    root = directory.resolve()
    ignore = root / IGNORE_FILE
    own = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    patterns = _compiled([*_NEVER, *_OURS, *own, *exclude])
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        # A directory that is left out may still hold what a later pattern takes in again.
        again = any(not out for _, out in patterns)
        folders[:] = sorted(name for name in folders if again or not _left_out((here / name).as_posix(), patterns))
        links = [name for name in folders if Path(folder, name).is_symlink()]
        paths = ((here / name).as_posix() for name in (*names, *links))
        found += [path for path in paths if not _left_out(path, patterns)]
        if len(found) > _MOST_FILES:
            raise BuildError(f"{directory} holds more than {_MOST_FILES} files; leave some out with {IGNORE_FILE}")
    if not found:
        raise BuildError(f"{directory} holds no files to build from")
    return Sources(root, tuple(sorted(found)), time)


def write_archive(sources: Sources, stream: io.BufferedIOBase, extra: Mapping[str, bytes]) -> None:
    """Write a tar archive: sorted, owned by root, rights of 755 or 644, all of one time; ``extra`` are files by path.

    Raises BuildError for a file that cannot be read, or is neither file nor link.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({*sources.files, *extra}):
            if path in extra:
                tar.addfile(_entry(path, len(extra[path]), 0o644, sources.time), io.BytesIO(extra[path]))
            else:
                _add(tar, sources, path)


def _add(tar: tarfile.TarFile, sources: Sources, path: str) -> None:
    file = sources.root / path
    try:
        status = file.lstat()
        if stat.S_ISLNK(status.st_mode):
            entry = _entry(path, 0, 0o777, sources.time)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(file.readlink())
            tar.addfile(entry)
        elif stat.S_ISREG(status.st_mode):
            with file.open("rb") as content:
                size = os.fstat(content.fileno()).st_size
                mode = 0o755 if status.st_mode & 0o100 else 0o644
                tar.addfile(_entry(path, size, mode, sources.time), content)
        else:
            raise BuildError(f"{file} is neither a file nor a link; leave it out with {IGNORE_FILE}")
    except OSError as error:
        raise BuildError(f"{file} cannot be read: {error.strerror or error}") from None


def _entry(path: str, size: int, mode: int, time: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode, entry.mtime = size, mode, time
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


_Patterns = tuple[tuple[re.Pattern[str], bool], ...]


def _compiled(lines: Iterable[str]) -> _Patterns:
    """Each pattern with whether it leaves out; the last one that fits counts."""
    found = []
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            out = not text.startswith("!")
            found.append((_expression(text.removeprefix("!").strip("/")), out))
    return tuple(found)


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", pattern)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(words.get(part) or (part if part.startswith("[") else re.escape(part)) for part in parts)
    try:
        return re.compile(f"{text}(?:/.*)?\\Z", re.DOTALL)
    except re.error as error:
        raise BuildError(f"the pattern {pattern!r} of what is left out cannot be used: {error}") from None


def _left_out(path: str, patterns: _Patterns) -> bool:
    out = False
    for pattern, leaves_out in patterns:
        if pattern.match(path):
            out = leaves_out
    return out
