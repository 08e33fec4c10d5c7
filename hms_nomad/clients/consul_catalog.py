"""The catalog of Consul: which instances of which services there are, how they are, and those outside the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.consul_calls import ConsulCalls, truth
from hms_nomad.clients.consul_types import CallingSidecar, Check, ExternalService, Instance
from hms_nomad.clients.snapshot import Snapshot

_SEVERITY = {"passing": 0, "warning": 1}


class CatalogCalls(ConsulCalls):
    """Calls on services and their health. All raise the errors of ``hms_nomad.clients.errors``."""

    def instances(
        self, service: str, passing: bool = False, index: int = 0, wait: float = 0.0, connect: bool = False
    ) -> Snapshot[tuple[Instance, ...]]:
        """The registered instances of a service; with ``index`` not 0 waits up to ``wait`` seconds for news.

        ``passing`` leaves out those with a check that does not pass. ``connect`` lists the sidecars that callers in the
        mesh reach instead of the instances themselves. What the token may not read is left out.
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

    def calling_sidecars(self, service: str) -> tuple[CallingSidecar, ...]:
        """The sidecars of a service, each with the settings by which it calls others.

        API: https://developer.hashicorp.com/consul/api-docs/health#list-nodes-for-connect-capable-service
        """
        operation = f"read how {service} calls others"
        path = f"/v1/health/connect/{self._segment(operation, service)}"
        return self._read(
            operation,
            lambda: self._get(path, {"merge-central-config": "1"}),
            lambda body: tuple(_parse_caller(row) for row in body or ()),
        )

    def health_checks(self, service: str, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Check, ...]]:
        """The checks of a service's instances, without those of their nodes; waits like ``instances``.

        API: https://developer.hashicorp.com/consul/api-docs/health#list-checks-for-service
        """
        operation = f"list checks of {service}"
        return self._snapshot(
            operation,
            f"/v1/health/checks/{self._segment(operation, service)}",
            {},
            lambda body: tuple(_parse_check(check) for check in body or ()),
            index=index,
            wait=wait,
        )

    def all_checks(self) -> tuple[Check, ...]:
        """The checks of all instances and all nodes in one answer, however many services there are.

        API: https://developer.hashicorp.com/consul/api-docs/health#list-checks-in-state
        """
        return self._read(
            "list checks",
            lambda: self._get("/v1/health/state/any"),
            lambda body: tuple(_parse_check(check) for check in body or ()),
        )

    def watch_checks(self, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Check, ...]]:
        """What ``all_checks`` answers; with ``index`` not 0 waits up to ``wait`` seconds until one of them changes.

        API: https://developer.hashicorp.com/consul/api-docs/health#list-checks-in-state
        """
        return self._snapshot(
            "watch checks",
            "/v1/health/state/any",
            {},
            lambda body: tuple(_parse_check(check) for check in body or ()),
            index=index,
            wait=wait,
        )

    def services(self, index: int = 0, wait: float = 0.0) -> Snapshot[Mapping[str, tuple[str, ...]]]:
        """The names of all services, each with all tags in use, in alphabetical order; waits like ``instances``.

        API: https://developer.hashicorp.com/consul/api-docs/catalog#list-services
        """
        return self._snapshot(
            "list services",
            "/v1/catalog/services",
            {},
            lambda body: {name: tuple(sorted(tags)) for name, tags in body.items()},
            index=index,
            wait=wait,
        )

    def catalog_register(self, service: ExternalService) -> None:
        """Enter an instance that runs where no agent is, such as a database outside the mesh, or update it.

        It has no check, so it counts as passing (needs node:write and service:write).
        API: https://developer.hashicorp.com/consul/api-docs/catalog#register-entity
        """
        body = {
            "Node": service.node,
            "Address": service.address,
            "NodeMeta": {"external-node": "true", "external-probe": "false"},
            "Service": {
                "ID": service.id,
                "Service": service.service,
                "Address": service.address,
                "Port": service.port,
                "Tags": list(service.tags),
                "Meta": dict(service.meta),
            },
        }
        self._write(
            f"register external service {service.service}", lambda: self._put("/v1/catalog/register", body), truth
        )

    def catalog_deregister(self, node: str, service_id: str | None = None) -> None:
        """Take one instance out of the catalog, or the whole node without ``service_id``; nothing there is no error.

        API: https://developer.hashicorp.com/consul/api-docs/catalog#deregister-entity
        """
        body = {"Node": node} | ({"ServiceID": service_id} if service_id else {})
        what = f"external service {service_id} of node {node}" if service_id else f"external node {node}"
        self._write(f"deregister {what}", lambda: self._put("/v1/catalog/deregister", body), truth)


def _parse_check(check: Any) -> Check:
    return Check(
        id=check.get("CheckID") or "",
        name=check.get("Name") or "",
        status=check.get("Status") or "",
        output=check.get("Output") or "",
        service_id=check.get("ServiceID") or "",
        node=check.get("Node") or "",
        service=check.get("ServiceName") or "",
    )


def _parse_caller(row: Any) -> CallingSidecar:
    upstreams = (row["Service"].get("Proxy") or {}).get("Upstreams") or ()
    return CallingSidecar(_parse_instance(row), {one["DestinationName"]: one.get("Config") or {} for one in upstreams})


def _parse_instance(row: Any) -> Instance:
    service, node = row["Service"], row["Node"]
    checks = tuple(_parse_check(check) for check in row.get("Checks") or ())
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
