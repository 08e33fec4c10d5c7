"""The client for one Consul agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.consul_acl import AclCalls
from hms_nomad.clients.consul_calls import JSON
from hms_nomad.clients.consul_catalog import CatalogCalls
from hms_nomad.clients.consul_entries import MeshCalls
from hms_nomad.clients.consul_identity import IdentityCalls
from hms_nomad.clients.consul_transactions import TransactionCalls
from hms_nomad.clients.consul_types import ConsulAgent
from hms_nomad.clients.errors import UnavailableError


class ConsulClient(CatalogCalls, MeshCalls, TransactionCalls, IdentityCalls, AclCalls):
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

    def servers(self) -> tuple[str, ...]:
        """Addresses of the datacenter's servers.

        API: https://developer.hashicorp.com/consul/api-docs/status#list-raft-peers
        """
        return self._read("list the servers", self._status.peers, lambda body: tuple(str(one) for one in body))

    def transfer_leadership(self) -> None:
        """Let another server lead (operator:write). Raises InvalidRequestError where there is no other.

        API: https://developer.hashicorp.com/consul/api-docs/operator/raft#transfer-raft-leadership
        """
        self._write(
            "let another server lead",
            lambda: self._http.post(JSON(), "/v1/operator/raft/transfer-leader"),
            lambda _: None,
        )

    def clock(self) -> float:
        """What the agent's clock shows, in seconds since 1970, to the second (the Date of any answer).

        API: https://developer.hashicorp.com/consul/api-docs/status#get-raft-leader
        """
        return self._transport.clock("/v1/status/leader")

    def agent(self) -> ConsulAgent:
        """The agent that answers (needs agent:read).

        API: https://developer.hashicorp.com/consul/api-docs/agent#read-configuration
        """
        return self._read("read the agent's configuration", self._agent.self, _parse_agent)


def _open_port(value: Any) -> int:
    return max(0, int(value or 0))


def _text(body: Any) -> str:
    if not isinstance(body, str):
        raise TypeError("a text was expected")
    return body


def _parse_agent(body: Any) -> ConsulAgent:
    config, xds = body["Config"], body.get("xDS") or {}
    ports = xds.get("Ports") or {}
    debug = body.get("DebugConfig") or {}
    return ConsulAgent(
        version=config["Version"],
        datacenter=config["Datacenter"],
        node=config["NodeName"],
        supported_envoy=tuple((xds.get("SupportedProxies") or {}).get("envoy") or ()),
        grpc_port=_open_port(ports.get("Plaintext")),
        grpc_tls_port=_open_port(ports.get("TLS")),
        allows_by_default=_allows_by_default(debug),
        dns_addresses=tuple(str(one) for one in debug.get("DNSAddrs") or ()),
        mesh=bool(debug.get("ConnectEnabled", True)),
        acl=bool(debug.get("ACLsEnabled")),
    )


def _allows_by_default(config: Mapping[str, Any]) -> bool:
    """The policy for intentions where it is set, else that of the ACLs, which allows all while they are off."""
    if own := config.get("DefaultIntentionPolicy"):
        return bool(own == "allow")
    settings = config.get("ACLResolverSettings") or {}
    return not config.get("ACLsEnabled") or settings.get("ACLDefaultPolicy") == "allow"
