"""Platform -> Session: the clients of one command, made once, with tokens taken from files and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.clients.vault import VaultClient
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.model import Platform, ServerAddress

_TOKEN_VARIABLES = {"nomad": "NOMAD_TOKEN", "consul": "CONSUL_HTTP_TOKEN", "vault": "VAULT_TOKEN"}


@dataclass(frozen=True, slots=True)
class Session:
    """The servers of one platform; ``vault`` is None where the platform has none.

    ``lock_wait`` is how many seconds a changing command waits for another one on the same service; ``retries`` is what
    all calls together may repeat.
    """

    platform: Platform
    nomad: NomadClient
    consul: ConsulClient
    vault: VaultClient | None
    lock_wait: float = 0.0
    retries: RetryBudget = field(default_factory=RetryBudget)


@contextmanager
def open_session(platform: Platform, lock_wait: float = 0.0) -> Iterator[Session]:
    """The clients for a platform; idle connections are closed at the end.

    A token is taken from NOMAD_TOKEN, CONSUL_HTTP_TOKEN or VAULT_TOKEN, else from the context's ``token_file``. Nothing
    is called yet. Raises ContextError for a token file that cannot be used, and InvalidRequestError for an address or
    a certificate file that cannot.
    """
    retries = RetryBudget()
    nomad = NomadClient(_connection("nomad", platform.nomad, retries), platform.namespace, platform.region)
    consul = ConsulClient(_connection("consul", platform.consul, retries))
    vault = VaultClient(_connection("vault", platform.vault, retries)) if platform.vault else None
    try:
        yield Session(platform, nomad, consul, vault, lock_wait, retries)
    finally:
        nomad.close()
        consul.close()
        if vault is not None:
            vault.close()


def _connection(server: str, where: ServerAddress, retries: RetryBudget) -> Connection:
    return Connection(
        address=where.address,
        token=os.environ.get(_TOKEN_VARIABLES[server]) or _token_of_file(where.token_file),
        ca_file=where.ca_file,
        client_cert=where.client_cert,
        client_key=where.client_key,
        tls_server_name=where.tls_server_name,
        retries=retries,
    )


def _token_of_file(name: str | None) -> str:
    if name is None:
        return ""
    file = Path(name)
    try:
        mode = file.stat().st_mode
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ContextError(f"the token file {name} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise ContextError(f"the token file {name} can be read by others; make it private with: chmod 600 {name}")
    return token
