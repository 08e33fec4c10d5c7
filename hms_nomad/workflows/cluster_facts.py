"""Servers -> Facts: the nodes and names that checks of a spec look at, as far as the servers answer."""

from __future__ import annotations

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError, UnavailableError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Node
from hms_nomad.spec.facts import Facts, NodeFacts

_MIB = 1024 * 1024


def gather_facts(nomad: NomadClient | None, consul: ConsulClient | None) -> Facts:
    """What Nomad and Consul know; a server that is away, not asked or refuses the token leaves its part out."""
    return Facts(
        nodes=_nodes(nomad) if nomad else None,
        services=_services(consul) if consul else None,
    )


def _nodes(nomad: NomadClient) -> tuple[NodeFacts, ...] | None:
    try:
        return tuple(_facts(node) for node in nomad.ready_nodes() if node.eligible)
    except (UnavailableError, DeniedError):
        return None


def _services(consul: ConsulClient) -> frozenset[str] | None:
    try:
        return frozenset(consul.services().value)
    except (UnavailableError, DeniedError):
        return None


def _facts(node: Node) -> NodeFacts:
    """MHz and MiB as Nomad fingerprints them (attributes ``cpu.totalcompute`` and ``memory.totalbytes``)."""
    return NodeFacts(
        name=node.name,
        cpu=_number(node, "cpu.totalcompute"),
        memory=_number(node, "memory.totalbytes") // _MIB,
        drivers=node.drivers,
    )


def _number(node: Node, attribute: str) -> int:
    value = node.attributes.get(attribute, "")
    return int(value) if value.isdigit() else 0
