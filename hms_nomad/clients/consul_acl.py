"""Consul's access lists: policies, roles, ways in for other identities, and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from hms_nomad.clients.consul_calls import JSON, ConsulCalls
from hms_nomad.clients.errors import DeniedError, NotFoundError
from hms_nomad.clients.transport import nothing_settled

AclKind = Literal["policy", "role", "auth-method"]

_BY_NAME = {"policy": "policy/name", "role": "role/name", "auth-method": "auth-method"}
_ABSENT = "not found"
_SERVERS_OWN = frozenset({"ID", "Hash", "CreateIndex", "ModifyIndex", "CreateTime", "Datacenters"})


class AclObject(Struct, frozen=True):
    """An object of the access lists as stored; ``body`` is without what the server adds.

    ``id`` names it in writes: the server's own for policies, roles and rules, the name for ways in.
    """

    kind: str
    name: str
    id: str
    body: Mapping[str, Any]


class AclCalls(ConsulCalls):
    """Calls on access lists, which need ``acl = "read"`` or ``"write"``.

    None of them can be made by compare-and-set. All raise the errors of ``hms_nomad.clients.errors``.
    """

    def read_acl(self, kind: AclKind, name: str) -> AclObject | None:
        """A policy, role or way in (auth method) by its name, or None.

        API: https://developer.hashicorp.com/consul/api-docs/acl
        """
        operation = f"read ACL {kind} {name}"
        path = f"/v1/acl/{_BY_NAME[kind]}/{self._segment(operation, name)}"
        try:
            return self._read(operation, lambda: self._get(path), lambda body: _object(kind, body))
        except NotFoundError:
            return None
        except DeniedError as error:
            # For what is not there some versions answer 403, with these words.
            if _ABSENT in error.detail.lower():
                return None
            raise

    def write_acl(self, kind: AclKind, body: Mapping[str, Any], object_id: str = "") -> AclObject:
        """Create an object, or replace the one with ``object_id``; answers what is stored now.

        API: https://developer.hashicorp.com/consul/api-docs/acl
        """
        name = str(body["Name"])
        return self._put_acl(kind, f"write ACL {kind} {name}", body, object_id)

    def delete_acl(self, kind: AclKind, object_id: str) -> None:
        """Delete an object; one that is not there is no error.

        API: https://developer.hashicorp.com/consul/api-docs/acl
        """
        self._delete_acl(kind, object_id)

    def binding_rules(self, method: str) -> tuple[AclObject, ...]:
        """The rules of one way in, which say what its identities get; ``name`` is their description.

        API: https://developer.hashicorp.com/consul/api-docs/acl/binding-rules#list-binding-rules
        """
        return self._read(
            f"list binding rules of {method}",
            lambda: self._get("/v1/acl/binding-rules", {"authmethod": method}),
            lambda body: tuple(_object("binding-rule", row) for row in body or ()),
        )

    def write_binding_rule(self, body: Mapping[str, Any], object_id: str = "") -> AclObject:
        """Create a rule, or replace the one with ``object_id``.

        API: https://developer.hashicorp.com/consul/api-docs/acl/binding-rules#create-a-binding-rule
        """
        return self._put_acl("binding-rule", f"write binding rule {body.get('Description')}", body, object_id)

    def delete_binding_rule(self, object_id: str) -> None:
        """Delete a rule; one that is not there is no error.

        API: https://developer.hashicorp.com/consul/api-docs/acl/binding-rules#delete-a-binding-rule
        """
        self._delete_acl("binding-rule", object_id)

    def create_acl_token(self, secret: str, description: str, policies: Sequence[str]) -> None:
        """Create a token whose secret (a UUID) is ``secret``, with policies by name. Raises ConflictError when there is
        one already.

        API: https://developer.hashicorp.com/consul/api-docs/acl/tokens#create-a-token
        """
        body = {"SecretID": secret, "Description": description, "Policies": [{"Name": name} for name in policies]}
        self._write(f"create the token {description!r}", lambda: self._put("/v1/acl/token", body), lambda _: None)

    def _put_acl(self, kind: str, operation: str, body: Mapping[str, Any], object_id: str) -> AclObject:
        path = f"/v1/acl/{kind}" + (f"/{self._segment(operation, object_id)}" if object_id else "")
        # Writing one again that has an id changes nothing; a second one without would be refused for its name.
        settled = nothing_settled if object_id else None
        return self._write(operation, lambda: self._put(path, body), lambda stored: _object(kind, stored), settled)

    def _delete_acl(self, kind: str, object_id: str) -> None:
        operation = f"delete ACL {kind} {object_id}"
        path = f"/v1/acl/{kind}/{self._segment(operation, object_id)}"
        try:
            self._write(operation, lambda: self._http.delete(JSON(), path), lambda _: None, nothing_settled)
        except NotFoundError:
            return
        except DeniedError as error:
            if _ABSENT not in error.detail.lower():
                raise


def _object(kind: str, body: Mapping[str, Any]) -> AclObject:
    name = str(body["Description"] if kind == "binding-rule" else body["Name"])
    kept = {key: value for key, value in body.items() if key not in _SERVERS_OWN}
    return AclObject(kind, name, str(body["Name"] if kind == "auth-method" else body["ID"]), kept)
