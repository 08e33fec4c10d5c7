"""What happens while something is applied, as values; who shows them and how is decided in ``hms_nomad.output``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct


class Event(Struct, frozen=True):
    """One fact of a running command: ``kind`` for machines ("apply", "image", "step"),
    ``message`` for people, ``data`` for both. ``more`` says that another fact of the same kind follows at once.
    """

    kind: str
    message: str
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)
    more: bool = False


Report = Callable[[Event], None]
"""Receives each event as it happens; must not block for long."""
