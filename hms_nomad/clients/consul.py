"""The client for one Consul agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.consul_catalog import CatalogCalls
from hms_nomad.clients.consul_entries import MeshCalls
from hms_nomad.clients.consul_identity import IdentityCalls
from hms_nomad.clients.consul_store import StoreCalls
from hms_nomad.clients.consul_types import ConsulAgent
from hms_nomad.clients.errors import UnavailableError


class ConsulClient(CatalogCalls, MeshCalls, StoreCalls, IdentityCalls):
    """Typed calls on a Consul agent over python-consul2. Threads may share a client."""

    def leader(self) -> str | None:
        """Address of the datacenter's leader, or None when there is none.

        API: https://developer.hashicorp.com/consul/api-docs/status#get-raft-leader
        """
        try:
            return self._read("find the leader", self._status.leader, _text, retry=False) or None
        except UnavailableError as error:
            if error.status == 500:
                return None
            raise

    def agent(self) -> ConsulAgent:
        """The agent that answers (needs agent:read).

        API: https://developer.hashicorp.com/consul/api-docs/agent#read-configuration
        """
        return self._read("read the agent's configuration", self._agent.self, _parse_agent)


def _text(body: Any) -> str:
    if not isinstance(body, str):
        raise TypeError("a text was expected")
    return body


def _parse_agent(body: Any) -> ConsulAgent:
    config, xds = body["Config"], body.get("xDS") or {}
    ports = xds.get("Ports") or {}
    return ConsulAgent(
        version=config["Version"],
        datacenter=config["Datacenter"],
        node=config["NodeName"],
        supported_envoy=tuple((xds.get("SupportedProxies") or {}).get("envoy") or ()),
        grpc_port=max(0, int(ports.get("Plaintext") or 0)),
        grpc_tls_port=max(0, int(ports.get("TLS") or 0)),
        allows_by_default=_allows_by_default(body.get("DebugConfig") or {}),
    )


def _allows_by_default(config: Mapping[str, Any]) -> bool:
    """The policy for intentions where it is set, else that of the ACLs, which allows all while they are off."""
    if own := config.get("DefaultIntentionPolicy"):
        return bool(own == "allow")
    settings = config.get("ACLResolverSettings") or {}
    return not config.get("ACLsEnabled") or settings.get("ACLDefaultPolicy") == "allow"
