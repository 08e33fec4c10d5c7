"""What a stack is asked to be: its name, where it keeps its state, its ports, and which optional parts it has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import platformdirs
from msgspec import Struct
from msgspec.structs import force_setattr

from hms_nomad.dev.errors import SettingsError
from hms_nomad.dev.release import HASHICORP, ReleaseSource
from hms_nomad.patterns import lazy_pattern

_NAME = lazy_pattern(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_DEFAULT_DIRECTORY = Path()
_HIGHEST_DEFAULT_PORT = 8600
_HIGHEST_PORT = 65535


class Ports(Struct, frozen=True):
    """Every port that a stack listens on, all on 127.0.0.1."""

    consul_http: int
    consul_grpc: int
    consul_grpc_tls: int
    consul_dns: int
    consul_rpc: int
    consul_serf: int
    nomad_http: int
    nomad_rpc: int
    nomad_serf: int
    vault_api: int
    vault_cluster: int
    registry: int

    @classmethod
    def shifted(cls, offset: int) -> Ports:
        """The servers' default ports, all moved up by ``offset``."""
        return cls(
            consul_http=8500 + offset,
            consul_grpc=8502 + offset,
            consul_grpc_tls=8503 + offset,
            consul_dns=_HIGHEST_DEFAULT_PORT + offset,
            consul_rpc=8300 + offset,
            consul_serf=8301 + offset,
            nomad_http=4646 + offset,
            nomad_rpc=4647 + offset,
            nomad_serf=4648 + offset,
            vault_api=8200 + offset,
            vault_cluster=8201 + offset,
            registry=5000 + offset,
        )


class StackSettings(Struct, frozen=True):
    """One stack. Two stacks live side by side with two names and two offsets.

    ``state_dir`` holds everything that the stack keeps (default: the user's state directory). ``port_offset`` is added
    to every server's default port. ``vault`` and ``docker``: True demands it, False leaves it out, None takes it where
    it is found. ``nomad``: the real one, or our own agent (None: the real one
    where it is found). ``registry`` adds a registry of images, which stays part of the stack; so does ``secure``, with
    which the servers ask for tokens, deny by default and speak TLS. ``download`` allows fetching what is lacking from
    ``releases``. ``timeout`` bounds ``up`` in seconds, downloads not counted. Raises
    SettingsError for a value that cannot be used.
    """

    name: str = "dev"
    state_dir: Path = _DEFAULT_DIRECTORY
    port_offset: int = 0
    vault: bool | None = None
    docker: bool | None = None
    registry: bool = False
    secure: bool = False
    nomad: Literal["real", "embedded"] | None = None
    download: bool = True
    releases: ReleaseSource = HASHICORP
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"{self.name!r} cannot name a stack", "use up to 32 lower-case letters, digits and dashes, such as dev"
            )
        highest = _HIGHEST_PORT - _HIGHEST_DEFAULT_PORT
        if not 0 <= self.port_offset <= highest:
            raise SettingsError(f"the port offset {self.port_offset} cannot be used", f"use 0 to {highest}")
        directory = self.state_dir
        if directory == _DEFAULT_DIRECTORY:
            directory = platformdirs.user_state_path("hms-nomad", appauthor=False) / "stacks" / self.name
        force_setattr(self, "state_dir", directory.absolute())

    @property
    def ports(self) -> Ports:
        """The stack's ports."""
        return Ports.shifted(self.port_offset)
