"""A registry's demand for credentials -> the header that meets it: a user and password, or a token fetched for them.

Specification: https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

import requests

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.credentials import Credentials
from hms_nomad.clients.errors import DeniedError
from hms_nomad.clients.transport import Transport
from hms_nomad.patterns import lazy_pattern

_PART = lazy_pattern(r'([a-zA-Z_]+)="([^"]*)"')
_CLIENT = "hms-nomad"


def parse_challenge(header: str) -> tuple[str, Mapping[str, str]]:
    """Scheme in lower case and parameters of a WWW-Authenticate header (RFC 9110, section 11.6.1)."""
    scheme, _, rest = header.strip().partition(" ")
    return scheme.lower(), dict(_PART.findall(rest))


class Authorizer:
    """Finds the Authorization header for one registry; a token is fetched once for each scope."""

    def __init__(self, registry: Connection, credentials: Credentials | None) -> None:
        self._registry = registry
        self._credentials = credentials
        self._headers: dict[str, str] = {}

    def header(self, scope: str) -> str:
        """The header for a scope ("repository:gov/receipt:pull"), as far as it is known; "" before it was asked for."""
        return self._headers.get(scope, "")

    def answer(self, challenge: str, scope: str, operation: str) -> str:
        """The header that meets a 401's ``challenge``.

        Raises DeniedError where no credentials are known or they are refused, and the errors of
        ``hms_nomad.clients.errors`` of the token service.
        """
        scheme, parts = parse_challenge(challenge)
        if scheme == "basic":
            header = self._basic(operation)
        elif scheme == "bearer" and parts.get("realm"):
            header = f"Bearer {self._token(parts, scope, operation)}"
        else:
            raise self._denied(
                operation, f"it asks for credentials of a kind that is not known here ({scheme or 'none'})"
            )
        self._headers[scope] = header
        return header

    def redacted(self, text: str) -> str:
        """A text of the registry without what we sent."""
        for secret in (*(self._credentials.secrets if self._credentials else ()), *self._headers.values()):
            text = text.replace(secret, "(hidden)")
        return text

    def _basic(self, operation: str) -> str:
        found = self._credentials
        if found is None or not found.username:
            raise self._denied(operation, "it wants a user and a password, and none are known for it")
        return "Basic " + base64.b64encode(f"{found.username}:{found.password}".encode()).decode()

    def _token(self, parts: Mapping[str, str], scope: str, operation: str) -> str:
        realm = urlsplit(parts["realm"])
        address = f"{realm.scheme}://{realm.netloc}"
        # Credentials of a registry go to its own host in the clear at most where the registry itself is spoken to so.
        if realm.scheme != "https" and (
            self._registry.secure or realm.hostname != urlsplit(self._registry.address).hostname
        ):
            raise self._denied(operation, f"it sends callers to {address} for a token, which is not encrypted")
        ca_file = self._registry.ca_file if realm.hostname == urlsplit(self._registry.address).hostname else None
        transport = Transport("registry", Connection(address, ca_file=ca_file, retry_seconds=0), "X-None", {})
        query = {"service": parts.get("service", ""), "scope": scope}
        url = f"{address}{realm.path}"

        def send() -> requests.Response:
            found = self._credentials
            if found is not None and found.identity_token:
                form = {**query, "grant_type": "refresh_token", "refresh_token": found.identity_token}
                return transport.session.post(url, data={**form, "client_id": _CLIENT})
            headers = {"Authorization": self._basic(operation)} if found is not None else {}
            return transport.session.get(url, params=query, headers=headers)

        try:
            body = transport.read("get a token for the registry", lambda: send().json(), retry=False)
            token = body.get("token") or body.get("access_token")
        except DeniedError as error:
            raise self._denied(operation, f"it refuses the credentials ({self.redacted(error.detail)})") from None
        finally:
            transport.session.close()
        if not isinstance(token, str):
            raise self._denied(operation, "its token service answers no token")
        return token

    def _denied(self, operation: str, detail: str) -> DeniedError:
        host = urlsplit(self._registry.address).netloc
        mend = f"log in with: docker login {host}, or name its secret in Vault in the context"
        return DeniedError("registry", operation, self._registry.address, f"{detail}; {mend}", 401)
