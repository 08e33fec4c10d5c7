"""The directory of a spec -> what the sources named in it hold, and nothing from elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hms_nomad.spec.rules_files import MOST_BYTES
from hms_nomad.spec.sources import Sources


def sources_of(spec: str) -> Sources:
    """A reader of the files beside a spec; ``spec`` is its path ("-": the current directory).

    A link that leads out of the spec's directory is refused: a spec from elsewhere should not be able to carry the
    files of whoever deploys it.
    """
    directory = Path() if spec == "-" else Path(spec).parent

    def read(source: str) -> bytes | str:
        try:
            root = directory.resolve()
            path = (root / source).resolve()
            if not path.is_relative_to(root):
                return "this leads out of the spec's directory"
            if not stat.S_ISREG(path.stat().st_mode):
                return "this is no file"
            # Should it become a pipe now, opening it would wait for ever.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                status = os.fstat(handle)
                if status.st_size > MOST_BYTES:
                    return f"the file has {status.st_size} bytes; at most {MOST_BYTES} can be sent"
                return stream.read(MOST_BYTES)
        except FileNotFoundError:
            return "there is no such file"
        except (OSError, ValueError, RuntimeError) as error:
            return f"it cannot be read: {getattr(error, 'strerror', None) or error}"

    return read
