"""What a command chooses among what a file leaves open: an environment, and values of variables."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct


class Selection(Struct, frozen=True):
    """``environment`` None stands for the file without any; ``variables`` are texts as they were typed.

    ``lenient`` leaves out what a file does not declare: for directories, where only some files know a name.
    """

    environment: str | None = None
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    lenient: bool = False


NOTHING = Selection()
"""No environment and no values."""
