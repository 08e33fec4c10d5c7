"""What a stack remembers, and what really runs -> its state, server by server."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.vault import VaultClient
from hms_nomad.dev.consul_agent import consul_client
from hms_nomad.dev.image_registry import lacks_answer
from hms_nomad.dev.nomad_agent import nomad_client
from hms_nomad.dev.processes import alive
from hms_nomad.dev.state import ServerRecord, StackRecord


class ServerState(StrEnum):
    """``silent``: runs and does not answer; ``sealed``: a Vault without its keys; ``dead``: has ended."""

    RUNNING = "running"
    SILENT = "silent"
    SEALED = "sealed"
    DEAD = "dead"


class StackState(StrEnum):
    """``partial``: some server does not run as it should, and ``up`` repairs it."""

    UP = "up"
    PARTIAL = "partial"
    DOWN = "down"


class ServerStatus(Struct, frozen=True):
    """One server; ``pid`` is None when its process is gone."""

    name: str
    binary: str
    version: str
    address: str
    pid: int | None
    state: ServerState
    log_file: str


class StackStatus(Struct, frozen=True):
    """A stack. ``context`` is what other commands select it by; the rest is empty while it is down.

    ``address`` is where allocations are published, ``sidecar`` how Envoy runs, ``docker`` whether images run,
    ``secure`` whether the servers ask for tokens and speak TLS,
    ``nomad`` which one runs: real or embedded.
    """

    name: str
    state: StackState
    state_dir: Path
    servers: tuple[ServerStatus, ...] = ()
    context: str = ""
    interface: str = ""
    address: str = ""
    sidecar: str = ""
    docker: bool = False
    secure: bool = False
    nomad: str = ""
    changed: bool = False


def server_status(record: ServerRecord) -> ServerStatus:
    """A server as it is now; asks it once."""
    running = alive(record.process)
    return ServerStatus(
        name=record.name,
        binary=record.binary,
        version=record.version,
        address=record.address,
        pid=record.process.pid if running else None,
        state=_answer(record) if running else ServerState.DEAD,
        log_file=record.log_file,
    )


def overall(record: StackRecord | None, servers: tuple[ServerStatus, ...]) -> StackState:
    """The state of the whole."""
    if record is None or not any(server.pid for server in servers):
        return StackState.DOWN
    complete = {"consul", "nomad"} <= {server.name for server in servers} and record.context
    if complete and all(server.state is ServerState.RUNNING for server in servers):
        return StackState.UP
    return StackState.PARTIAL


def _answer(record: ServerRecord) -> ServerState:
    try:
        if record.name == "vault":
            where = Connection(record.address, ca_file=record.ca_file or None, retry_seconds=0)
            with contextlib.closing(VaultClient(where)) as vault:
                return ServerState.SEALED if vault.health().sealed else ServerState.RUNNING
        if record.name == "registry":
            return ServerState.SILENT if lacks_answer(record.address) else ServerState.RUNNING
        with contextlib.closing((consul_client if record.name == "consul" else nomad_client)(record)) as client:
            return ServerState.RUNNING if client.leader() else ServerState.SILENT
    except ServerError:
        return ServerState.SILENT
