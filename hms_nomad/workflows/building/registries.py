"""Platform -> clients of the registries that its images lie in, with the credentials of whoever runs the command."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.credentials import Credentials, docker_credentials
from hms_nomad.clients.oci import RegistryClient
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model_images import RegistryAccess
from hms_nomad.workflows.session import Session

if TYPE_CHECKING:
    from hms_nomad.clients.vault import VaultClient

_HUB, _HUB_API = "docker.io", "https://registry-1.docker.io"
_PLAIN = RegistryAccess()


class Registries:
    """One client for each registry of a command."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._clients: dict[str, RegistryClient] = {}
        self._lock = threading.Lock()

    def client(self, host: str) -> RegistryClient:
        """The client for a registry by its host, as names of images say it.

        Raises ContextError for access that the context describes wrongly, and the errors of
        ``hms_nomad.clients.errors``.
        """
        with self._lock:
            if host not in self._clients:
                access = self._session.platform.images.registries.get(host, _PLAIN)
                connection = Connection(
                    access.address or _api(host),
                    ca_file=access.ca_file,
                    read_timeout=access.timeout,
                    retries=self._session.retries,
                )
                self._clients[host] = RegistryClient(connection, self.credentials(host))
            return self._clients[host]

    def credentials(self, host: str) -> Credentials | None:
        """User and password for a registry: from Vault where the context says so, else from Docker's configuration."""
        path = self._session.platform.images.registries.get(host, _PLAIN).vault
        return self._of_vault(host, path) if path else docker_credentials(host)

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            client.close()

    def _of_vault(self, host: str, path: str) -> Credentials:
        place = f"images.registries.{host}.vault"
        if self._session.vault is None:
            raise ContextError(f"{place} names a secret, and this platform has no Vault")
        found = self._read(self._session.vault, path)
        if not found.get("username") or not found.get("password"):
            raise ContextError(f"{place}: the secret {path} has no username and password")
        return Credentials(str(found["username"]), str(found["password"]))

    def _read(self, vault: VaultClient, path: str) -> Mapping[str, Any]:
        """A secret by its path as specs write it, or as the API of KV 2 does, with ``data`` behind the mount."""
        mount = next((one for one in self._session.platform.secrets.kv if path.startswith(f"{one}/")), None)
        if mount is None:
            data = vault.read(path) or {}
            return data.get("data") or data
        secret = vault.kv_read(mount, path.removeprefix(f"{mount}/").removeprefix("data/"))
        return secret.data if secret else {}


@contextmanager
def open_registries(session: Session) -> Iterator[Registries]:
    """The registries of a command; idle connections are closed at the end."""
    found = Registries(session)
    try:
        yield found
    finally:
        found.close()


def _api(host: str) -> str:
    """A registry of this machine speaks plain http, as container engines take it; every other one https."""
    if host == _HUB:
        return _HUB_API
    name = host.rpartition(":")[0] or host
    try:
        local = ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        local = name == "localhost"
    return f"http://{host}" if local else f"https://{host}"
