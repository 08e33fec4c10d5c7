"""Text -> a file that nobody else can read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read (0600, as ``mkstemp`` makes it), whole or not at all.

    It is written beside and renamed. Its folder has to be there. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
