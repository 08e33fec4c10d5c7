"""Nomad's nodes, and what the platform needs of them -> what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from hms_nomad.clients.nomad_types import Node
from hms_nomad.doctor.finding import Finding, Section, SectionResult, finding
from hms_nomad.doctor.servers import version_of
from hms_nomad.platform.model import Platform

_PLUGINS = ("bridge", "firewall", "host-local", "loopback", "portmap")
_CHECKS_EACH = 9


class NodeFacts(Struct, frozen=True):
    """All nodes. ``unmeasured`` are the ids of those whose running allocations have no statistics at all;
    ``servers_version`` is that of Nomad's servers ("" when it is not known).
    """

    nodes: Sequence[Node]
    unmeasured: frozenset[str] = frozenset()
    servers_version: str = ""


def judge_nodes(facts: NodeFacts, platform: Platform, drivers: Iterable[str]) -> SectionResult:
    """What is wrong with the nodes; ``drivers`` are those that the platform and its services need."""
    ready = [node for node in facts.nodes if node.status == "ready"]
    found = [finding("D202", node.name, f"its status is {node.status}") for node in facts.nodes if node not in ready]
    if not ready:
        found.append(finding("D201", "nomad", f"{len(facts.nodes)} nodes are known, and none is ready"))
        return SectionResult(Section.NODES, 1, tuple(found))
    for node in ready:
        found += _judge(node, facts, vault=platform.vault is not None)
    for driver in sorted(set(drivers)):
        if not any(driver in node.drivers for node in ready):
            found.append(finding("D204", driver, f"none of {len(ready)} ready nodes has the driver {driver}"))
    return SectionResult(Section.NODES, _CHECKS_EACH * len(facts.nodes), tuple(found))


def needed_drivers(platform: Platform) -> frozenset[str]:
    """The drivers that the context itself names: of sidecars, and of what else ships with the program."""
    programs = [one for one in (platform.autoscaler, platform.telemetry) if one is not None]
    named = {one.driver for one in programs if one.driver}
    return frozenset({platform.sidecar.driver, *named})


def _judge(node: Node, facts: NodeFacts, *, vault: bool) -> list[Finding]:
    name, has = node.name, node.attributes
    found = []
    if not node.eligible or node.draining:
        found.append(finding("D203", name, "it is being drained" if node.draining else "it is marked ineligible"))
    lacks = [plugin for plugin in _PLUGINS if not has.get(f"plugins.cni.version.{plugin}")]
    # The embedded agent of a development stack makes no networks, so it needs none.
    if lacks and not has.get("nomad.embedded"):
        found.append(finding("D205", name, f"it lacks {', '.join(lacks)}"))
    if node.networks and "bridge" not in node.networks:
        found.append(finding("D206", name, f"its networks are {', '.join(sorted(node.networks))}"))
    found += _consul(node)
    if vault and not has.get("vault.version"):
        found.append(finding("D210", name, "it has no attribute vault.version"))
    if node.id in facts.unmeasured:
        found.append(finding("D211", name, "statistics of its allocations are not published, or all zero"))
    own, servers = version_of(has.get("nomad.version", "")), version_of(facts.servers_version)
    if own and servers and own > servers:
        found.append(finding("D212", name, f"it is {has['nomad.version']}, the servers {facts.servers_version}"))
    return found


def _consul(node: Node) -> list[Finding]:
    has = node.attributes
    if not has.get("consul.version"):
        return [finding("D207", node.name, "it has no attribute consul.version")]
    found = []
    if has.get("consul.connect") != "true":
        found.append(finding("D209", node.name, "its Consul has connect.enabled = false"))
    if has.get("consul.grpc", "-1") in ("", "0", "-1"):
        found.append(finding("D208", node.name, "its Consul's gRPC port is closed"))
    return found
