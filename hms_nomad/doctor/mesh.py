"""Consul's mesh: ports, authority, intentions, DNS, Envoy -> what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from hms_nomad.clients.consul_types import CaRoot, ConsulAgent, StoredEntry
from hms_nomad.clients.nomad_types import NomadAgent
from hms_nomad.doctor.finding import Finding, Section, SectionResult, finding
from hms_nomad.doctor.servers import seconds_until, version_of
from hms_nomad.platform.model import Platform

_CHECKS = 11
_SOON_SECONDS = 30 * 24 * 3600.0


class MeshFacts(Struct, frozen=True):
    """What Consul says of its mesh.

    ``nomad`` is the agent of Nomad that was asked (None: it could not be). ``signing`` is why no certificate is signed
    ("" when one was, None when it was not tried), ``dns`` why DNS does not answer, in the same way. ``envoy`` is the
    version that the platform runs, as far as it is known. ``refusals`` says of proxies of the platform, by name and
    allocation, what they refuse. ``now`` is seconds since 1970.
    """

    agent: ConsulAgent
    roots: Sequence[CaRoot]
    intentions: Sequence[StoredEntry]
    providers: Sequence[StoredEntry]
    nomad: NomadAgent | None
    signing: str | None
    dns: str | None
    envoy: str
    now: float
    refusals: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)


def judge_mesh(facts: MeshFacts) -> SectionResult:
    """What is wrong with the mesh."""
    agent = facts.agent
    if not agent.mesh:
        return SectionResult(Section.MESH, 1, (finding("D301", "consul", "connect.enabled is false"),))
    found = [*_ports(facts), *_authority(facts), *_intentions(facts), *_envoy(facts)]
    for provider in facts.providers:
        remote = (provider.body.get("JSONWebKeySet") or {}).get("Remote")
        if remote and not (remote.get("JWKSCluster") or {}).get("DiscoveryType"):
            detail = "its keys are fetched from a host name, which Envoy gets as a fixed address"
            found.append(finding("D309", f"jwt-provider {provider.name}", detail))
    if facts.dns:
        found.append(finding("D310", "consul", facts.dns))
    for proxy, refused in facts.refusals.items():
        found += [finding("D312", proxy, f"instance {where[:8]}: {why}") for where, why in refused.items()]
    return SectionResult(Section.MESH, _CHECKS, tuple(found))


def envoy_of(platform: Platform) -> str:
    """The version of Envoy that an image of the context names, or "" when none does."""
    image = platform.sidecar.image or ""
    match = re.search(r":[^:/]*?v?(\d+\.\d+\.\d+)", image)
    return match.group(1) if platform.sidecar.driver == "docker" and match else ""


def envoy_too_old(envoy: str, supported: Sequence[str]) -> bool:
    """Whether Consul refuses an Envoy; newer ones than it knows are served."""
    own = version_of(envoy)
    known = sorted(version for version in map(version_of, supported) if version)
    return bool(own and known and own[:2] < known[0][:2])


def _ports(facts: MeshFacts) -> list[Finding]:
    agent, nomad = facts.agent, facts.nomad
    if not agent.grpc_port and not agent.grpc_tls_port:
        return [finding("D302", "consul", "neither ports.grpc nor ports.grpc_tls is open")]
    if nomad is None or not agent.grpc_tls_port or nomad.consul_grpc_ca:
        return []
    aimed_at_tls = nomad.consul_grpc.endswith(f":{agent.grpc_tls_port}") or nomad.consul_tls
    if not agent.grpc_port or aimed_at_tls:
        detail = f"Consul's gRPC port {agent.grpc_tls_port} wants TLS, and consul.grpc_ca_file is empty in Nomad"
        return [finding("D303", "nomad", detail)]
    return []


def _authority(facts: MeshFacts) -> list[Finding]:
    found = []
    active = [root for root in facts.roots if root.active]
    for root in active:
        left = seconds_until(root.not_after, facts.now)
        if left is not None and left <= 0:
            found.append(finding("D304", root.name, f"it ended on {root.not_after}"))
        elif left is not None and left < _SOON_SECONDS:
            found.append(finding("D305", root.name, f"it ends on {root.not_after}"))
    if not active:
        found.append(finding("D308", "consul", "there is no active root certificate yet"))
    elif facts.signing:
        found.append(finding("D308", "consul", facts.signing))
    return found


def _intentions(facts: MeshFacts) -> list[Finding]:
    found = []
    if facts.agent.allows_by_default:
        found.append(finding("D306", "consul", "the default for intentions is allow"))
    for entry in facts.intentions:
        for source in entry.body.get("Sources") or ():
            if source.get("Name") == "*" and source.get("Action") == "allow":
                detail = f"everybody may call {'everybody' if entry.name == '*' else entry.name}"
                found.append(finding("D307", f"intentions of {entry.name}", detail))
    return found


def _envoy(facts: MeshFacts) -> list[Finding]:
    supported = facts.agent.supported_envoy
    if not facts.envoy or not envoy_too_old(facts.envoy, supported):
        return []
    detail = f"Envoy {facts.envoy}, and Consul {facts.agent.version} supports {', '.join(supported)}"
    return [finding("D311", "envoy", detail)]
