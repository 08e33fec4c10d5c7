"""Nomad's access lists: policies, those bound to a job's identity too, and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from hms_nomad.clients.login import Login, seconds_until
from hms_nomad.clients.nomad_calls import NomadCalls, absent
from hms_nomad.clients.transport import nothing_settled


class NomadPolicy(Struct, frozen=True):
    """A policy; with ``job`` (in ``namespace``) it is what instances of this job may do by their own identity."""

    name: str
    description: str
    rules: str
    namespace: str = ""
    job: str = ""


class AclCalls(NomadCalls):
    """Calls on access lists, which need a management token.

    None of them can be made by compare-and-set. All raise the errors of ``hms_nomad.clients.errors``.
    """

    def read_acl_policy(self, name: str) -> NomadPolicy | None:
        """A policy, or None.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/policies#read-policy
        """
        operation = f"read ACL policy {name}"
        segment = self._segment(operation, name)
        return absent(lambda: self._read(operation, lambda: self._acl.get_policy(segment), _policy))

    def write_acl_policy(self, policy: NomadPolicy) -> None:
        """Create or replace a policy.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/policies#create-or-update-policy
        """
        operation = f"write ACL policy {policy.name}"
        segment = self._segment(operation, policy.name)
        body: dict[str, Any] = {"Name": policy.name, "Description": policy.description, "Rules": policy.rules}
        if policy.job:
            body["JobACL"] = {"Namespace": policy.namespace, "JobID": policy.job}
        self._write(operation, lambda: self._acl.create_policy(segment, body), lambda _: None, nothing_settled)

    def delete_acl_policy(self, name: str) -> None:
        """Delete a policy; one that is not there is no error.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/policies#delete-policy
        """
        operation = f"delete ACL policy {name}"
        segment = self._segment(operation, name)
        absent(
            lambda: self._write(operation, lambda: self._acl.delete_policy(segment), lambda _: None, nothing_settled)
        )

    def bootstrap_acl(self, secret: str) -> None:
        """Make ``secret`` (a UUID) the first management token. Raises InvalidRequestError or ConflictError when there
        is one already.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/tokens#bootstrap-token
        """
        body = {"BootstrapSecret": secret}
        self._write(
            "make the first token",
            lambda: self._acl.request("bootstrap", json=body, method="post").json(),
            lambda _: None,
        )

    def create_acl_token(self, name: str, policies: Sequence[str]) -> str:
        """A token with these policies; answers its secret.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/tokens#create-token
        """
        body = {"Name": name, "Type": "client", "Policies": list(policies)}
        return self._write(
            f"create the token {name!r}", lambda: self._acl.create_token(body), lambda made: str(made["SecretID"])
        )

    def login(self, method: str, jwt: str) -> Login:
        """A token for a JWT, by the way in (auth method) ``method``. Raises DeniedError where Nomad does not trust it.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/auth-methods
        """
        body = {"AuthMethodName": method, "LoginToken": jwt}
        return self._write("log in", lambda: self._acl.request("login", json=body, method="post").json(), _login)

    def oidc_url(self, method: str, redirect: str, nonce: str) -> str:
        """Where a browser has to go so that its user logs in; it comes back to ``redirect`` with a code.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/oidc#get-oidc-authorization-url
        """
        body = {"AuthMethodName": method, "RedirectURI": redirect, "ClientNonce": nonce}
        return self._write(
            "begin a login",
            lambda: self._acl.request("oidc", "auth-url", json=body, method="post").json(),
            lambda answer: str(answer["AuthURL"]),
        )

    def login_oidc(self, method: str, redirect: str, nonce: str, state: str, code: str) -> Login:
        """A token for the code that the browser brought back.

        API: https://developer.hashicorp.com/nomad/api-docs/acl/oidc#complete-oidc-authentication
        """
        body = {"AuthMethodName": method, "RedirectURI": redirect, "ClientNonce": nonce, "State": state, "Code": code}
        return self._write(
            "log in", lambda: self._acl.request("oidc", "complete-auth", json=body, method="post").json(), _login
        )


def _login(body: Any) -> Login:
    rights = [*(body.get("Policies") or ()), *(one["Name"] for one in body.get("Roles") or ())]
    return Login(
        token=str(body["SecretID"]),
        accessor=body["AccessorID"],
        rights=tuple(rights) or (str(body.get("Type") or ""),),
        seconds=seconds_until(body.get("ExpirationTime")),
    )


def _policy(body: Any) -> NomadPolicy:
    job = body.get("JobACL") or {}
    return NomadPolicy(
        name=body["Name"],
        description=body.get("Description") or "",
        rules=body.get("Rules") or "",
        namespace=job.get("Namespace") or "",
        job=job.get("JobID") or "",
    )
