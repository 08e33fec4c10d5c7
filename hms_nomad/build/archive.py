"""The files of a service that is no container -> one archive, the same bytes every time, with its checksum."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import BinaryIO, cast

from msgspec import Struct

from hms_nomad.build.context import Sources, write_archive

_LEVEL = 6


class Archive(Struct, frozen=True):
    """A packed archive: its file, and the SHA-256 of its bytes in hex."""

    file: Path
    sha256: str
    files: int

    @property
    def checksum(self) -> str:
        """The checksum as Nomad takes it."""
        return f"sha256:{self.sha256}"


def pack(sources: Sources, file: Path) -> Archive:
    """Pack sources into a .tar.gz. Raises BuildError for a file that cannot be read."""
    with (
        file.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as zipped,
    ):
        write_archive(sources, cast("BinaryIO", zipped), {})  # type: ignore[arg-type]
    with file.open("rb") as stream:
        return Archive(file, hashlib.file_digest(stream, "sha256").hexdigest(), len(sources.files))
