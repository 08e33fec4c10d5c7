"""Who one is in Consul: the rights behind a token and the certificate behind a service."""

from __future__ import annotations

from typing import Any

from hms_nomad.clients.consul_calls import ConsulCalls
from hms_nomad.clients.consul_types import AclToken, LeafCertificate
from hms_nomad.clients.errors import DeniedError

_ACLS_OFF = 401


class IdentityCalls(ConsulCalls):
    """Calls on tokens and leaf certificates. All raise the errors of ``hms_nomad.clients.errors``."""

    def own_token(self) -> AclToken | None:
        """The token that this client sends (the anonymous one when it has none), or None where ACLs are switched off.

        Raises DeniedError when Consul does not know the token.
        API: https://developer.hashicorp.com/consul/api-docs/acl/tokens#read-self-token
        """
        try:
            return self._read("read its own token", lambda: self._get("/v1/acl/token/self"), _parse_token)
        except DeniedError as error:
            if error.status == _ACLS_OFF:
                return None
            raise

    def leaf_certificate(self, service: str) -> LeafCertificate:
        """The certificate that a sidecar of ``service`` shows in the mesh, with its key (needs service:write).

        The agent makes and renews it, so asking twice answers the same one.
        API: https://developer.hashicorp.com/consul/api-docs/agent/connect#service-leaf-certificate
        """
        operation = f"read the certificate of {service}"
        # python-consul2 asks for it without /v1 and answers nothing.
        path = f"/v1/agent/connect/ca/leaf/{self._segment(operation, service)}"
        return self._read(operation, lambda: self._get(path), _parse_leaf)


def _parse_token(body: Any) -> AclToken:
    return AclToken(
        accessor_id=body["AccessorID"],
        description=body.get("Description") or "",
        policies=tuple(policy["Name"] for policy in body.get("Policies") or ()),
        roles=tuple(role["Name"] for role in body.get("Roles") or ()),
        expires=body.get("ExpirationTime") or "",
    )


def _parse_leaf(body: Any) -> LeafCertificate:
    return LeafCertificate(
        service=body["Service"],
        spiffe_id=body["ServiceURI"],
        serial_number=body["SerialNumber"],
        certificate_pem=body["CertPEM"],
        key_pem=body["PrivateKeyPEM"],
        valid_after=body["ValidAfter"],
        valid_before=body["ValidBefore"],
    )
