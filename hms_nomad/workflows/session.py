"""Platform -> Session: the clients of one command, made once, with tokens taken from files and the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.audit import ChainEnd
from hms_nomad.apply.lock_session import LockSession
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.compile.desired import Desired, Evidence
from hms_nomad.compile.images import NO_PINS, Pins
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.deploying.turns import Turns
from hms_nomad.workflows.tokens import token_of

if TYPE_CHECKING:
    from hms_nomad.clients.vault import VaultClient


class Session(Struct, frozen=True):
    """The servers of one platform; ``vault`` is None where the platform has none.

    ``lock_wait`` is how many seconds a changing command waits for another one on the same service; ``retries`` is what
    all calls together may repeat. ``pins`` are what the images of this command's specs were resolved to, and
    ``evidence`` is what is known of their making, by the latter. ``locks`` is what the locks of many services share
    (None: each has its own), and ``chain`` where this command's last record stands in the audit trail. ``turns`` are
    of its services that plan again what they share.
    """

    platform: Platform
    nomad: NomadClient
    consul: ConsulClient
    vault: VaultClient | None
    lock_wait: float = 0.0
    retries: RetryBudget = msgspec.field(default_factory=RetryBudget)
    pins: Pins = msgspec.field(default_factory=lambda: NO_PINS)
    locks: LockSession | None = None
    chain: ChainEnd = msgspec.field(default_factory=ChainEnd)
    evidence: Mapping[str, Evidence] = msgspec.field(default_factory=dict)
    turns: Turns = msgspec.field(default_factory=Turns)


def evidenced(desired: Desired, session: Session) -> Desired:
    """What is desired, with what the session knows of the making of its images."""
    known = {pin: session.evidence[pin] for pin in desired.images.values() if pin in session.evidence}
    return replace(desired, evidence=known)


@contextmanager
def open_session(platform: Platform, lock_wait: float = 0.0, *, patient: bool = True) -> Iterator[Session]:
    """The clients for a platform; idle connections are closed at the end. Only ``patient`` ones try a call again.

    A token is taken from NOMAD_TOKEN, CONSUL_HTTP_TOKEN or VAULT_TOKEN, else from a login, else from the context's
    ``token_helper`` or ``token_file``. Nothing is called yet. Raises ContextError for a helper or a file that gives
    none, and InvalidRequestError for an address or a certificate file that cannot be used.
    """
    retries = RetryBudget()
    nomad = NomadClient(
        _connection(platform, "nomad", platform.nomad, retries, patient), platform.namespace, platform.region
    )
    consul = ConsulClient(_connection(platform, "consul", platform.consul, retries, patient))
    vault = _vault(_connection(platform, "vault", platform.vault, retries, patient)) if platform.vault else None
    try:
        yield Session(platform, nomad, consul, vault, lock_wait, retries)
    finally:
        nomad.close()
        consul.close()
        if vault is not None:
            vault.close()


def _vault(connection: Connection) -> VaultClient:
    """Loaded where a platform has one: the library takes a good part of a short command's time."""
    from hms_nomad.clients.vault import VaultClient

    return VaultClient(connection)


def connection_to(where: ServerAddress, token: str = "") -> Connection:
    """The way to a server of a platform, with ``token`` or without any."""
    return Connection(
        address=where.address,
        token=token,
        ca_file=where.ca_file,
        client_cert=where.client_cert,
        client_key=where.client_key,
        tls_server_name=where.tls_server_name,
    )


def _connection(
    platform: Platform, server: str, where: ServerAddress, retries: RetryBudget, patient: bool
) -> Connection:
    connection = dataclasses.replace(connection_to(where, token_of(server, where, platform.name)), retries=retries)
    return connection if patient else dataclasses.replace(connection, retry_seconds=0.0)
