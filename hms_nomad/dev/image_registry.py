"""Ports and directories -> the stack's registry of images: Docker's own, on loopback, kept in the state directory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import RegistryClient
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.consul_agent import LOOPBACK
from hms_nomad.dev.server import Server, config_file
from hms_nomad.dev.settings import Ports


def registry_server(binary: Binary, ports: Ports, directory: Path, environment: Mapping[str, str]) -> Server:
    """The registry of a stack (https://distribution.github.io/distribution/about/configuration/)."""
    return Server(
        name="registry",
        binary=binary,
        address=f"http://{LOOPBACK}:{ports.registry}",
        directory=directory,
        arguments=("serve", str(config_file(directory))),
        config={
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"{LOOPBACK}:{ports.registry}"},
        },
        environment=environment,
    )


def lacks_answer(address: str) -> str:
    """What keeps the registry from answering, or nothing. Raises the errors of ``hms_nomad.clients.errors``."""
    with contextlib.closing(RegistryClient(Connection(address, retry_seconds=0))) as client:
        client.ping()
    return ""
