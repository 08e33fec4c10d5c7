"""What the building of specs hands on: the specs, the digests of their images, and how these were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from hms_nomad.compile.desired import Evidence
from hms_nomad.workflows.specs import SpecFile

if TYPE_CHECKING:
    # Both load all that builds, which most commands do without.
    from hms_nomad.workflows.building.archive import Packed
    from hms_nomad.workflows.building.build import Built


class Made(Struct, frozen=True):
    """Specs after their building: ``pins`` are what is known of images, ``evidence`` is by the pins of new ones."""

    files: tuple[SpecFile, ...]
    pins: Mapping[str, str]
    built: tuple[Built | Packed, ...] = ()
    evidence: Mapping[str, Evidence] = msgspec.field(default_factory=dict)
