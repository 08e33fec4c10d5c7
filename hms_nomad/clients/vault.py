"""The client for one Vault (or OpenBao) server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hvac
from msgspec import Struct

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import InvalidRequestError, NotFoundError
from hms_nomad.clients.transport import Transport

T = TypeVar("T")

# Vault tells its state by the status of the health page: standby, sealed, not initialized.
_HEALTH_STATUSES = frozenset({429, 472, 473, 501, 503})


class VaultHealth(Struct, frozen=True):
    """The server's state; ``standby`` servers pass requests on to the active one."""

    initialized: bool
    sealed: bool
    standby: bool
    version: str


@dataclass(frozen=True, slots=True)
class Secret:
    """One version of a KV 2 secret; ``data`` never shows in a ``repr``."""

    data: Mapping[str, Any] = field(repr=False)
    version: int


class VaultToken(Struct, frozen=True):
    """A token without its secret; ``ttl_seconds`` is 0 for one that does not end."""

    accessor: str
    policies: tuple[str, ...]
    ttl_seconds: float
    renewable: bool


class VaultClient:
    """Typed calls on Vault over hvac. All raise the errors of ``hms_nomad.clients.errors``; threads may share one."""

    def __init__(self, connection: Connection) -> None:
        """``connection`` says how the server is reached; its token is sent with every call."""
        self._transport = Transport("vault", connection, "X-Vault-Token", {})
        # An empty token keeps hvac from looking for one in the environment and the home directory; the guarded
        # session sends ours and checks certificates whatever hvac has read.
        self._hvac = hvac.Client(
            url=connection.address,
            token="",
            verify=connection.verify,
            session=self._transport.session,
            allow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"VaultClient({self.address})"

    @property
    def address(self) -> str:
        """The URL of the server's API."""
        return self._transport.connection.address

    @property
    def has_token(self) -> bool:
        """Whether a token is sent at all."""
        return bool(self._transport.connection.token)

    def close(self) -> None:
        """Close the idle connections; the client can be used again."""
        self._transport.session.close()

    def health(self) -> VaultHealth:
        """The server's state; answered without a token, also while it is sealed.

        API: https://developer.hashicorp.com/vault/api-docs/system/health
        """
        with self._transport.calling("read its health", write=False, accepted=_HEALTH_STATUSES):
            body = self._hvac.adapter.session.get(f"{self.address}/v1/sys/health").json()
            return VaultHealth(
                initialized=bool(body["initialized"]),
                sealed=bool(body["sealed"]),
                standby=bool(body["standby"]),
                version=str(body["version"]),
            )

    def clock(self) -> float:
        """What the server's clock shows, in seconds since 1970, to the second (the Date of any answer).

        API: https://developer.hashicorp.com/vault/api-docs/system/health
        """
        return self._transport.clock("/v1/sys/health")

    def own_token(self) -> VaultToken:
        """The token that this client sends. Raises DeniedError when Vault does not know it.

        API: https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
        """
        return self._transport.read("read its own token", lambda: _token(self._hvac.auth.token.lookup_self()))

    def capabilities(self, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """What the token of this client may do at each of ``paths``, such as "read" or "deny".

        API: https://developer.hashicorp.com/vault/api-docs/system/capabilities-self
        """
        self._check("ask for its own rights", *paths)
        return self._transport.read(
            "ask for its own rights", lambda: _capabilities(self._hvac.sys.get_capabilities(list(paths)), paths)
        )

    def read(self, path: str) -> Mapping[str, Any] | None:
        """The data at ``path`` (without /v1), or None.

        API: https://developer.hashicorp.com/vault/api-docs
        """
        operation = f"read {path}"
        self._check(operation, path)
        try:
            return self._transport.read(operation, lambda: _data(self._hvac.read(path)))
        except NotFoundError:
            return None

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write ``data`` to ``path``; answers what Vault answers, often nothing.

        API: https://developer.hashicorp.com/vault/api-docs
        """
        return self._send(f"write {path}", (path,), lambda: _data(self._hvac.write_data(path, data=dict(data))))

    def delete(self, path: str) -> None:
        """Delete what is at ``path``; nothing there is no error.

        API: https://developer.hashicorp.com/vault/api-docs
        """
        self._send(f"delete {path}", (path,), lambda: self._hvac.delete(path))

    def create_token(self, policies: Sequence[str], period_seconds: int) -> str:
        """A token of its own (no parent) with these policies, to be renewed within ``period_seconds`` for ever.

        It has nothing else: not even the policy that Vault gives to every token by default.

        API: https://developer.hashicorp.com/vault/api-docs/auth/token#create-token
        """
        body = self._transport.write(
            "create a token",
            lambda: self._hvac.auth.token.create_orphan(
                policies=list(policies), no_default_policy=True, period=f"{period_seconds}s"
            ),
        )
        return str(body["auth"]["client_token"])

    def list_keys(self, path: str) -> tuple[str, ...]:
        """The names below ``path`` (without /v1), empty when there are none; those of folders end in a slash.

        API: https://developer.hashicorp.com/vault/api-docs
        """
        operation = f"list {path}"
        self._check(operation, path)
        try:
            return self._transport.read(
                operation, lambda: tuple(str(name) for name in _data(self._hvac.list(path)).get("keys") or ())
            )
        except NotFoundError:
            return ()

    def enable_secrets(self, path: str, type: str, config: Mapping[str, Any] | None = None) -> None:  # noqa: A002
        """Mount a secrets engine of ``type`` (such as pki, kv-v2) at ``path``. Raises ConflictError if one is there.

        API: https://developer.hashicorp.com/vault/api-docs/system/mounts#enable-secrets-engine
        """
        self._send(
            f"enable {type} secrets at {path}",
            (path,),
            lambda: self._hvac.sys.enable_secrets_engine(
                backend_type=type, path=path, config=dict(config) if config else None
            ),
        )

    def enable_auth(self, path: str, type: str) -> None:  # noqa: A002
        """Mount an auth method of ``type`` (such as jwt) at ``path``. Raises ConflictError if one is there.

        API: https://developer.hashicorp.com/vault/api-docs/system/auth#enable-auth-method
        """
        self._send(
            f"enable {type} auth at {path}",
            (path,),
            lambda: self._hvac.sys.enable_auth_method(method_type=type, path=path),
        )

    def read_policy(self, name: str) -> str | None:
        """The text of an ACL policy, or None.

        API: https://developer.hashicorp.com/vault/api-docs/system/policies#read-acl-policy
        """
        operation = f"read policy {name}"
        self._check(operation, name)
        try:
            return self._transport.read(operation, lambda: str(self._hvac.sys.read_acl_policy(name)["data"]["policy"]))
        except NotFoundError:
            return None

    def write_policy(self, name: str, policy: str) -> None:
        """Create or replace an ACL policy.

        API: https://developer.hashicorp.com/vault/api-docs/system/policies#create-update-acl-policy
        """
        self._send(
            f"write policy {name}",
            (name,),
            lambda: self._hvac.sys.create_or_update_acl_policy(name=name, policy=policy),
        )

    def delete_policy(self, name: str) -> None:
        """Delete an ACL policy; one that is not there is no error.

        API: https://developer.hashicorp.com/vault/api-docs/system/policies#delete-acl-policy
        """
        self._send(f"delete policy {name}", (name,), lambda: self._hvac.sys.delete_acl_policy(name))

    def kv_read(self, mount: str, path: str) -> Secret | None:
        """The newest version of a KV 2 secret, or None when there is none or it was deleted.

        API: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version
        """
        operation = f"read secret {mount}/{path}"
        self._check(operation, mount, path)
        try:
            return self._transport.read(
                operation,
                lambda: _secret(
                    self._hvac.secrets.kv.v2.read_secret_version(
                        path=path, mount_point=mount, raise_on_deleted_version=True
                    )
                ),
            )
        except NotFoundError:
            return None

    def kv_write(self, mount: str, path: str, data: Mapping[str, Any], version: int) -> int:
        """Write a KV 2 secret if its newest version still is ``version`` (0: it must not exist); answers the new one.

        Raises ConflictError when it is not.
        API: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#create-update-secret
        """
        return self._send(
            f"write secret {mount}/{path}",
            (mount, path),
            lambda: int(
                self._hvac.secrets.kv.v2.create_or_update_secret(
                    path=path, secret=dict(data), cas=version, mount_point=mount
                )["data"]["version"]
            ),
        )

    def _send(self, operation: str, paths: tuple[str, ...], send: Callable[[], T]) -> T:
        self._check(operation, *paths)
        return self._transport.write(operation, send)

    def _check(self, operation: str, *paths: str) -> None:
        """hvac does not quote paths, so what would end one is refused."""
        for path in paths:
            parts = path.split("/")
            if any(part in ("", ".", "..") for part in parts) or any(sign in path for sign in "?#%\r\n"):
                raise InvalidRequestError("vault", operation, self.address, f"{path!r} cannot stand in a path")


def _data(body: Any) -> Mapping[str, Any]:
    """``data`` of an answer; hvac hands out the bare response where Vault answers nothing, but also where a page came.

    Raises ValueError for the page.
    """
    if isinstance(body, dict):
        return body.get("data") or {}
    if body is not None and body.content.strip():
        raise ValueError("an answer in JSON was expected")
    return {}


def _token(body: Any) -> VaultToken:
    data = body["data"]
    return VaultToken(
        accessor=str(data.get("accessor") or ""),
        policies=(*(data.get("policies") or ()), *(data.get("identity_policies") or ())),
        ttl_seconds=float(data.get("ttl") or 0),
        renewable=bool(data.get("renewable")),
    )


def _capabilities(body: Any, paths: Sequence[str]) -> dict[str, frozenset[str]]:
    data = body.get("data") or body
    return {path: frozenset(data[path]) for path in paths}


def _secret(body: Any) -> Secret:
    return Secret(body["data"]["data"], int(body["data"]["metadata"]["version"]))
