"""The layers of an image -> the files in it that tell what packages it holds, as a container would see them.

https://github.com/opencontainers/image-spec/blob/main/layer.md: later layers replace and take away what earlier ones
brought.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from hms_nomad.build.errors import BuildError
from hms_nomad.patterns import lazy_pattern

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_TELLING = lazy_pattern(
    r"(?:etc|usr/lib)/os-release"
    r"|var/lib/dpkg/status(?:\.d/[^/]+)?"
    r"|(?:usr/)?lib/apk/db/installed"
    r"|.*\.dist-info/METADATA"
    r"|.*\.egg-info/PKG-INFO"
    r"|(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json"
    r"|.*\.[jw]ar"
)
_NEVER_TELLING = lazy_pattern(r"var/lib/dpkg/status\.d/.*\.md5sums")
_ELF = b"\x7fELF"
_LONGEST = 256 * 1024 * 1024
"""Bytes of a file that is looked into at most; a longer one is no database of packages."""


class Contents(Struct):
    """Files that tell of packages, by their path; ``programs`` are executables, of which Go's say what is in them."""

    files: dict[str, bytes] = msgspec.field(default_factory=dict)
    programs: dict[str, bytes] = msgspec.field(default_factory=dict)

    def take_away(self, path: str) -> None:
        """Forget a path and everything below it."""
        for kept in (self.files, self.programs):
            for name in [name for name in kept if name == path or name.startswith(f"{path}/")]:
                del kept[name]


def contents_of(layers: Iterable[Path]) -> Contents:
    """The telling files of layers (tar archives, compressed or not), the lowest first. Raises BuildError."""
    found = Contents()
    for layer in layers:
        try:
            with tarfile.open(layer) as tar:
                _lay(tar, found)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise BuildError(f"a layer of the image cannot be read ({type(error).__name__})") from None
    return found


def _lay(tar: tarfile.TarFile, found: Contents) -> None:
    """Put a layer over what is there. What it takes away was below it, wherever in the archive it says so."""
    added = Contents()
    for entry in tar:
        path = entry.name.removeprefix("./").strip("/")
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            found.take_away(folder)
            continue
        if name.startswith(_WHITEOUT):
            found.take_away(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
            continue
        if not entry.isdir():
            found.take_away(path)
            added.take_away(path)
        if not entry.isreg() or entry.size > _LONGEST:
            continue
        if _TELLING.fullmatch(path) and not _NEVER_TELLING.fullmatch(path):
            added.files[path] = _read(tar.extractfile(entry))
        elif entry.mode & 0o111:
            _add_program(added, path, tar.extractfile(entry))
    found.files.update(added.files)
    found.programs.update(added.programs)


def _add_program(added: Contents, path: str, stream: IO[bytes] | None) -> None:
    """Keep of a program what Go's linker says of its modules; of others nothing."""
    from hms_nomad.build.go_modules import module_text

    head = stream.read(4) if stream else b""
    if stream is not None and head == _ELF and (text := module_text(head + stream.read())):
        added.programs[path] = text


def _read(stream: IO[bytes] | None) -> bytes:
    return stream.read() if stream else b""
