"""Who one is in Consul: the rights behind a token and the certificate behind a service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hms_nomad.clients.consul_calls import JSON, ConsulCalls, truth
from hms_nomad.clients.consul_types import AclRight, AclToken, LeafCertificate
from hms_nomad.clients.errors import DeniedError
from hms_nomad.clients.login import Login, seconds_until
from hms_nomad.clients.transport import nothing_settled

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

    def login(self, method: str, jwt: str) -> Login:
        """A token for a JWT, by the way in (auth method) ``method``. Raises DeniedError where Consul does not trust it.

        API: https://developer.hashicorp.com/consul/api-docs/acl#login-to-auth-method
        """
        body = json.dumps({"AuthMethod": method, "BearerToken": jwt})
        return self._write("log in", lambda: self._http.post(JSON(), "/v1/acl/login", data=body), _parse_login)

    def logout(self) -> None:
        """End the token that this client sends; it has to be one of a login.

        API: https://developer.hashicorp.com/consul/api-docs/acl#logout-from-auth-method
        """
        self._write("log out", lambda: self._http.post(_nothing, "/v1/acl/logout"), lambda _: None, nothing_settled)

    def authorized(self, rights: Sequence[AclRight]) -> tuple[bool, ...]:
        """Which of ``rights`` the token of this client has, in their order; asked of Consul's own judge.

        Consul's user interface asks the same; before it existed one had to try. Where ACLs are switched off, everybody
        has every right. Raises DeniedError when Consul does not know the token.
        API: none is documented; ``/v1/internal/acl/authorize`` is in every version since 1.9.
        """
        body = [{"Resource": one.resource, "Access": one.access, "Segment": one.segment} for one in rights]
        try:
            return self._read(
                "ask for its own rights",
                lambda: self._http.post(JSON(), "/v1/internal/acl/authorize", data=json.dumps(body)),
                lambda answer: tuple(truth(one["Allow"]) for one in answer),
            )
        except DeniedError as error:
            if error.status == _ACLS_OFF:
                return (True,) * len(rights)
            raise

    def leaf_certificate(self, service: str) -> LeafCertificate:
        """The certificate that a sidecar of ``service`` shows in the mesh, with its key (needs service:write).

        The agent makes and renews it, so asking twice answers the same one. What it holds already it hands out without
        looking at the token (Consul 1.20): ask ``authorized`` first where the right counts.
        API: https://developer.hashicorp.com/consul/api-docs/agent/connect#service-leaf-certificate
        """
        operation = f"read the certificate of {service}"
        # python-consul2 asks for it without /v1 and answers nothing.
        path = f"/v1/agent/connect/ca/leaf/{self._segment(operation, service)}"
        return self._read(operation, lambda: self._get(path), _parse_leaf)


def _nothing(response: Any) -> None:
    """The answer has no content."""
    del response


def _parse_login(body: Any) -> Login:
    names = [one["Name"] for kind in ("Policies", "Roles") for one in body.get(kind) or ()]
    names += [f"service {one['ServiceName']}" for one in body.get("ServiceIdentities") or ()]
    return Login(
        token=str(body["SecretID"]),
        accessor=body["AccessorID"],
        rights=tuple(names),
        seconds=seconds_until(body.get("ExpirationTime")),
    )


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
