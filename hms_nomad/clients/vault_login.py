"""The calls that log in to Vault (or OpenBao) and out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.login import Login
from hms_nomad.clients.vault import VaultClient


class VaultLogin(VaultClient):
    """Logging in to Vault and out of it, without a token. All raise the errors of ``hms_nomad.clients.errors``."""

    def login_jwt(self, mount: str, role: str, jwt: str) -> Login:
        """A token for a JWT. Raises InvalidRequestError or DeniedError where Vault does not trust it.

        API: https://developer.hashicorp.com/vault/api-docs/auth/jwt#jwt-login
        """
        return self._login(mount, "login", {"role": role, "jwt": jwt} if role else {"jwt": jwt})

    def login_userpass(self, mount: str, user: str, password: str) -> Login:
        """A token for a name and its password. Raises InvalidRequestError where they do not fit.

        API: https://developer.hashicorp.com/vault/api-docs/auth/userpass#login
        """
        return self._login(mount, f"login/{user}", {"password": password})

    def oidc_url(self, mount: str, role: str, redirect: str, nonce: str) -> str:
        """Where a browser has to go so that its user logs in; it comes back to ``redirect`` with a code.

        Raises InvalidRequestError for a role or a ``redirect`` that Vault does not allow.
        API: https://developer.hashicorp.com/vault/api-docs/auth/jwt#oidc-authorization-url-request
        """
        operation, path = "begin a login", f"auth/{mount}/oidc/auth_url"
        self._check(operation, path)
        asked = {"role": role, "redirect_uri": redirect, "client_nonce": nonce}
        body = self._transport.write(operation, lambda: self._hvac.adapter.post(f"/v1/{path}", json=asked))
        url = str(body["data"]["auth_url"])
        if not url:
            raise InvalidRequestError("vault", operation, self.address, f"role {role!r} or {redirect} is not allowed")
        return url

    def login_oidc(self, mount: str, state: str, code: str, nonce: str) -> Login:
        """A token for the code that the browser brought back.

        API: https://developer.hashicorp.com/vault/api-docs/auth/jwt#oidc-callback
        """
        operation, path = "log in", f"auth/{mount}/oidc/callback"
        self._check(operation, path)
        params = {"state": state, "code": code, "client_nonce": nonce}
        return self._transport.write(operation, lambda: _of_vault(self._hvac.adapter.get(f"/v1/{path}", params=params)))

    def logout(self) -> None:
        """Revoke the token that this client sends.

        API: https://developer.hashicorp.com/vault/api-docs/auth/token#revoke-a-token-self
        """
        self._transport.write("log out", self._hvac.auth.token.revoke_self)

    def _login(self, mount: str, path: str, body: Mapping[str, str]) -> Login:
        whole = f"auth/{mount}/{path}"
        self._check("log in", whole)
        return self._transport.write(
            "log in", lambda: _of_vault(self._hvac.adapter.login(f"/v1/{whole}", use_token=False, json=dict(body)))
        )


def _of_vault(body: Any) -> Login:
    auth = body["auth"]
    return Login(
        token=str(auth["client_token"]),
        accessor=str(auth.get("accessor") or ""),
        rights=tuple(auth.get("policies") or ()),
        seconds=float(auth.get("lease_duration") or 0),
    )
