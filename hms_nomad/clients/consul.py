"""The client for one Consul agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.consul_entries import MeshCalls
from hms_nomad.clients.consul_store import StoreCalls
from hms_nomad.clients.consul_types import Check, ConsulAgent, Instance
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.snapshot import Snapshot

_SEVERITY = {"passing": 0, "warning": 1}


class ConsulClient(MeshCalls, StoreCalls):
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

    def instances(
        self, service: str, passing: bool = False, index: int = 0, wait: float = 0.0, connect: bool = False
    ) -> Snapshot[tuple[Instance, ...]]:
        """The registered instances of a service; with ``index`` not 0 waits up to ``wait`` seconds for news.

        ``passing`` leaves out those with a check that does not pass. ``connect`` lists the sidecars that callers in the
        mesh reach instead of the instances themselves.
        API: https://developer.hashicorp.com/consul/api-docs/health#list-nodes-for-service
        """
        operation = f"list instances of {service}"
        path = f"/v1/health/{'connect' if connect else 'service'}/{self._segment(operation, service)}"
        # python-consul2's health.service cannot ask for the mesh's view.
        return self._snapshot(
            operation,
            path,
            {"passing": "1"} if passing else {},
            lambda body: tuple(_parse_instance(row) for row in body or ()),
            index=index,
            wait=wait,
        )

    def services(self, index: int = 0, wait: float = 0.0) -> Snapshot[Mapping[str, tuple[str, ...]]]:
        """The names of all services, each with all tags in use; with ``index`` not 0 waits up to ``wait`` seconds.

        API: https://developer.hashicorp.com/consul/api-docs/catalog#list-services
        """
        return self._snapshot(
            "list services",
            "/v1/catalog/services",
            {},
            lambda body: {name: tuple(tags) for name, tags in body.items()},
            index=index,
            wait=wait,
        )


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
    )


def _parse_instance(row: Any) -> Instance:
    service, node = row["Service"], row["Node"]
    checks = tuple(
        Check(
            id=check.get("CheckID") or "",
            name=check.get("Name") or "",
            status=check.get("Status") or "",
            output=check.get("Output") or "",
        )
        for check in row.get("Checks") or ()
    )
    worst = max((check.status for check in checks), key=lambda status: _SEVERITY.get(status, 2), default="passing")
    return Instance(
        id=service["ID"],
        service=service["Service"],
        node=node["Node"],
        address=service.get("Address") or node.get("Address") or "",
        port=int(service.get("Port") or 0),
        meta=service.get("Meta") or {},
        tags=tuple(service.get("Tags") or ()),
        status=worst if worst in _SEVERITY else "critical",
        checks=checks,
    )
