"""Servers -> the session of a platform on them, impatient, so that a fault is told at once; and codes of findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.vault import VaultClient
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.doctor.examine import examine
from hms_nomad.workflows.session import Session

NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Reach:
    """How one server of a patient is reached; nobody listens at the address unless one is named."""

    address: str = NOWHERE
    token: str = ""
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    patience: float = 3.0

    @property
    def connection(self) -> Connection:
        return Connection(
            address=self.address,
            token=self.token,
            ca_file=self.ca_file,
            client_cert=self.client_cert,
            client_key=self.client_key,
            tls_server_name=self.tls_server_name,
            read_timeout=self.patience,
            retry_seconds=0.0,
        )


def patient(
    nomad: Reach | None = None, consul: Reach | None = None, vault: Reach | None = None, **platform: Any
) -> Session:
    """A session on these servers; those that are not named are not there."""
    nomad, consul = nomad or Reach(), consul or Reach()
    return Session(
        Platform(
            nomad=ServerAddress(address=nomad.address),
            consul=ServerAddress(address=consul.address),
            vault=ServerAddress(address=vault.address) if vault else None,
            **platform,
        ),
        NomadClient(nomad.connection),
        ConsulClient(consul.connection),
        VaultClient(vault.connection) if vault else None,
    )


def codes(session: Session, subject: str | None = None, role: str = "viewer", service: str | None = None) -> set[str]:
    """The codes that are found, all or those about one subject."""
    found = examine(session, role, service).findings
    return {one.code for one in found if subject in (None, one.subject)}
