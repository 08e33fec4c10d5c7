"""What Nomad's scheduler says a registration would do, as plain values: its counts for each group, and who finds no
node.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

WORDS: Mapping[str, str] = {
    "place": "to create",
    "stop": "to destroy",
    "in_place_update": "to update in place",
    "destructive_update": "to destroy and create",
    "canary": "canaries",
    "migrate": "to migrate",
    "preemptions": "of others preempted",
    "reconnect": "to reconnect",
    "ignore": "left alone",
}
"""Nomad's counts of a group (``DesiredTGUpdates``) and what they say of instances, in the order of showing."""


class Foresight(Struct, frozen=True):
    """Nomad's own answer to a job that is not registered yet.

    ``groups`` counts instances by what happens to them (keys of ``WORDS``), counts of nothing left out. ``unplaced``
    holds, for each group that finds no node for all its instances, the reason. ``warnings`` are Nomad's own.
    """

    groups: Mapping[str, Mapping[str, int]]
    unplaced: Mapping[str, str] = msgspec.field(default_factory=dict)
    warnings: str = ""

    @property
    def placed(self) -> bool:
        """True when every instance would find a node."""
        return not self.unplaced

    @property
    def replaces(self) -> bool:
        """True when running instances would make way for others."""
        return any(found.get(key) for found in self.groups.values() for key in ("destructive_update", "canary"))


def counts(updates: Mapping[str, int]) -> dict[str, int]:
    """Nomad's counts of one group under our keys: "InPlaceUpdate" becomes ``in_place_update``."""
    ours = {key.replace("_", ""): key for key in WORDS}
    found = {ours[name.lower()]: int(number) for name, number in updates.items() if name.lower() in ours and number}
    return {key: found[key] for key in WORDS if key in found}
