"""What a cluster holds, as far as checks of a spec look at it; gathered elsewhere, since nothing here asks a server."""

from __future__ import annotations

from msgspec import Struct


class NodeFacts(Struct, frozen=True):
    """A node that takes work. ``cpu`` (MHz) and ``memory`` (MiB) are what it has in all; 0 when that is not known."""

    name: str
    cpu: int
    memory: int
    drivers: frozenset[str]


class Facts(Struct, frozen=True):
    """``nodes`` from Nomad, ``services`` (names) from Consul; None where the server was not asked or did not answer."""

    nodes: tuple[NodeFacts, ...] | None = None
    services: frozenset[str] | None = None


UNKNOWN = Facts()
"""No server was asked."""
