"""Config entries, intentions and the certificate authority of Consul: what the mesh is told to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.classify import not_swapped
from hms_nomad.clients.consul_calls import NOT_FOUND, ConsulCalls, truth
from hms_nomad.clients.consul_types import CaConfiguration, CaRoot, Condition, Intention, StoredEntry
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.clients.transport import nothing_settled

_SERVERS_OWN = frozenset({"CreateIndex", "ModifyIndex", "Hash", "Status"})


class MeshCalls(ConsulCalls):
    """Calls on the mesh's configuration. All raise the errors of ``hms_nomad.clients.errors``."""

    def read_entry(self, kind: str, name: str) -> StoredEntry | None:
        """A config entry, or None.

        API: https://developer.hashicorp.com/consul/api-docs/config#get-configuration
        """
        operation = f"read {kind} {name}"
        self._segment(operation, f"{kind}/{name}")
        try:
            return self._read(operation, lambda: self._config.get(kind, name), _parse_entry)
        except NotFoundError:
            return None

    def watch_entry(self, kind: str, name: str, index: int = 0, wait: float = 0.0) -> Snapshot[StoredEntry | None]:
        """A config entry, or None; with ``index`` not 0 waits up to ``wait`` seconds until it is made, changed or gone.

        API: https://developer.hashicorp.com/consul/api-docs/config#get-configuration
        """
        operation = f"watch {kind} {name}"
        return self._snapshot(
            operation,
            f"/v1/config/{self._segment(operation, f'{kind}/{name}')}",
            {},
            lambda body: None if body is None else _parse_entry(body),
            index=index,
            wait=wait,
            accepted=NOT_FOUND,
        )

    def list_entries(self, kind: str) -> tuple[StoredEntry, ...]:
        """All config entries of a kind that the token may read.

        API: https://developer.hashicorp.com/consul/api-docs/config#list-configurations
        """
        operation = f"list {kind}"
        self._segment(operation, kind)
        return self._read(
            operation,
            lambda: self._config.list(kind),
            lambda body: tuple(_parse_entry(entry) for entry in body or ()),
        )

    def watch_entries(self, kind: str, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[StoredEntry, ...]]:
        """What ``list_entries`` answers; with ``index`` not 0 waits up to ``wait`` seconds until one is made, changed
        or gone.

        API: https://developer.hashicorp.com/consul/api-docs/config#list-configurations
        """
        operation = f"watch {kind}"
        return self._snapshot(
            operation,
            f"/v1/config/{self._segment(operation, kind)}",
            {},
            lambda body: tuple(_parse_entry(entry) for entry in body or ()),
            index=index,
            wait=wait,
        )

    def write_entry(self, body: Mapping[str, Any], modify_index: int) -> None:
        """Write a config entry if its index still is ``modify_index`` (0: it must not exist).

        Where the stored entry says the same already, any index is right, and Consul answers that it was written. Raises
        ConflictError when another writer won, InvalidRequestError when Consul refuses the content, UnknownOutcomeError
        when an answer was lost.
        API: https://developer.hashicorp.com/consul/api-docs/config#apply-configuration
        """
        kind, name = str(body["Kind"]), str(body["Name"])
        operation = f"write {kind} {name}"
        # python-consul2 drops an index of 0, which would turn "create only" into "overwrite".
        # After a lost answer the same is sent again: Consul answers true where the stored content is ours already.
        taken = self._write(
            operation, lambda: self._put("/v1/config", body, {"cas": modify_index}), truth, nothing_settled
        )
        if not taken:
            request = self._transport.request(operation, write=True)
            raise not_swapped(request, "it changed since it was read, or exists already")

    def delete_entry(self, kind: str, name: str, modify_index: int) -> None:
        """Delete a config entry if its index still is ``modify_index``; one that is gone already is no error.

        Raises ConflictError when it changed, InvalidRequestError when others still depend on it.
        API: https://developer.hashicorp.com/consul/api-docs/config#delete-configuration
        """
        operation = f"delete {kind} {name}"
        self._segment(operation, f"{kind}/{name}")
        # python-consul2 knows no compare-and-set here.
        taken = self._write(
            operation,
            lambda: self._http.delete(_json_or_none, f"/v1/config/{kind}/{name}", params=[("cas", modify_index)]),
            lambda answer: answer is not False,
            nothing_settled,
        )
        if not taken and self.read_entry(kind, name) is not None:
            raise not_swapped(self._transport.request(operation, write=True), "it changed since it was read")

    def read_intention(self, source: str, destination: str) -> Intention | None:
        """The intention between exactly these two, or None; wildcards that cover them are not looked at.

        API: https://developer.hashicorp.com/consul/api-docs/connect/intentions#read-specific-intention-by-name
        """
        params = {"source": source, "destination": destination}
        try:
            return self._read(
                f"read the intention from {source} to {destination}",
                lambda: self._get("/v1/connect/intentions/exact", params),
                _parse_intention,
            )
        except NotFoundError:
            return None

    def check_intention(self, source: str, destination: str) -> bool:
        """May ``source`` connect to ``destination``? Permissions by path or method are not looked at.

        API: https://developer.hashicorp.com/consul/api-docs/connect/intentions#check-intention-result
        """
        params = {"source": source, "destination": destination}
        return self._read(
            f"check the intention from {source} to {destination}",
            lambda: self._get("/v1/connect/intentions/check", params),
            lambda body: truth(body["Allowed"]),
        )

    def discovery_chain(self, service: str) -> Mapping[str, Any]:
        """What router, splitter and resolver come to for a service: protocol, nodes and targets.

        API: https://developer.hashicorp.com/consul/api-docs/discovery-chain#read-compiled-discovery-chain
        """
        operation = f"read the discovery chain of {service}"
        path = f"/v1/discovery-chain/{self._segment(operation, service)}"
        return self._read(operation, lambda: self._get(path), lambda body: dict(body["Chain"]))

    def ca_roots(self) -> tuple[CaRoot, ...]:
        """The root certificates that the mesh trusts; empty when the mesh is switched off.

        API: https://developer.hashicorp.com/consul/api-docs/connect/ca#list-ca-root-certificates
        """
        return self._read("read the mesh's root certificates", lambda: self._get("/v1/connect/ca/roots"), _parse_roots)

    def ca_configuration(self) -> CaConfiguration:
        """The provider of the mesh's certificates and its settings (needs operator:read).

        API: https://developer.hashicorp.com/consul/api-docs/connect/ca#get-ca-configuration
        """
        return self._read(
            "read the mesh's certificate authority",
            lambda: self._get("/v1/connect/ca/configuration"),
            lambda body: CaConfiguration(body["Provider"], body.get("Config") or {}, int(body["ModifyIndex"])),
        )

    def set_ca_configuration(self, provider: str, config: Mapping[str, Any]) -> None:
        """Set the provider of the mesh's certificates; Consul cross-signs, so running sidecars go on (operator:write).

        API: https://developer.hashicorp.com/consul/api-docs/connect/ca#update-ca-configuration
        """
        self._write(
            f"make {provider} the mesh's certificate authority",
            lambda: self._put("/v1/connect/ca/configuration", {"Provider": provider, "Config": dict(config)}),
            lambda _: None,
        )


def _json_or_none(response: Any) -> Any:
    return {"true": True, "false": False}.get(response.body.strip())


def _parse_entry(body: Any) -> StoredEntry:
    return StoredEntry(
        kind=body["Kind"],
        name=body["Name"],
        body={key: value for key, value in body.items() if key not in _SERVERS_OWN},
        modify_index=int(body["ModifyIndex"]),
        conditions=tuple(_parse_condition(found) for found in (body.get("Status") or {}).get("Conditions") or ()),
    )


def _parse_condition(found: Any) -> Condition:
    resource = found.get("Resource") or {}
    return Condition(
        type=found["Type"],
        true=found["Status"] == "True",
        reason=found.get("Reason") or "",
        message=found.get("Message") or "",
        about=resource.get("SectionName") or resource.get("Name") or "",
    )


def _parse_intention(body: Any) -> Intention:
    return Intention(
        source=body["SourceName"],
        destination=body["DestinationName"],
        action=body.get("Action") or "",
        permissions=tuple(body.get("Permissions") or ()),
        description=body.get("Description") or "",
        precedence=int(body.get("Precedence") or 0),
        modify_index=int(body.get("ModifyIndex") or 0),
    )


def _parse_roots(body: Any) -> tuple[CaRoot, ...]:
    return tuple(
        CaRoot(
            id=root["ID"],
            name=root.get("Name") or "",
            active=bool(root.get("Active")),
            pem=root.get("RootCert") or "",
            trust_domain=body.get("TrustDomain") or "",
            not_after=root.get("NotAfter") or "",
            intermediates=tuple(root.get("IntermediateCerts") or ()),
            signing_key_id=root.get("SigningKeyID") or "",
        )
        for root in body.get("Roots") or ()
    )
