"""A stack whose Nomad is our own small agent, which needs no root, no networks of its own and no container engine."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hms_nomad import __version__
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.nomad_types import Node
from hms_nomad.dev import consul_agent, image_registry, nomad_agent
from hms_nomad.dev.binaries import Binaries, Binary
from hms_nomad.dev.contexts import platform_of
from hms_nomad.dev.engine import find_engine
from hms_nomad.dev.errors import StackError, UnsuitableMachineError
from hms_nomad.dev.leftovers import allocations_of, remove_containers, remove_tree
from hms_nomad.dev.processes import STACK_VARIABLE, alive, of_stack, send, stop, wait_for_exit
from hms_nomad.dev.server import Server, await_answer, config_file, ensure_started, environment, failed
from hms_nomad.dev.settings import Ports, StackSettings
from hms_nomad.dev.state import ServerRecord, StackRecord, save
from hms_nomad.platform.context import save_context, use_context

EMBEDDED = "embedded"
"""What a record says of a stack whose Nomad is ours."""

_PORTS_FIRST = 10000
_PORTS_EACH = 600
_PORT_BANDS = 16
_OFFSET_STEP = 500
_DRAIN_SECONDS = 60.0
_STOP_SECONDS = 15.0


def own_program() -> Binary:
    """This program as the Nomad of a stack. Raises UnsuitableMachineError without the libraries of its extra."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UnsuitableMachineError(
            f"the embedded agent needs {error.name}", "install it: pip install 'hms-nomad[agent]'"
        ) from None
    return Binary("nomad", Path(sys.executable), f"{__version__} (embedded)")


def check_embedded(settings: StackSettings) -> None:
    """Refuse what only a real Nomad has. Raises StackError."""
    refused = (
        (settings.secure, "access lists and TLS", "leave out --secure"),
        (settings.vault, "secrets of Vault", "leave out --vault"),
    )
    for wished, what, right in refused:
        if wished:
            raise StackError(f"the embedded agent has no {what}", f"{right}, or use a real Nomad: --nomad real")


def agent_config(
    settings: StackSettings, ports: Ports, directory: Path, consul: Binary, *, docker: bool
) -> dict[str, Any]:
    """The agent's settings, as ``AgentSettings.read`` takes them."""
    band = settings.port_offset // _OFFSET_STEP % _PORT_BANDS
    first = _PORTS_FIRST + band * _PORTS_EACH
    return {
        "name": f"hms-{settings.name}",
        "datacenter": consul_agent.DATACENTER,
        "host": consul_agent.LOOPBACK,
        "port": ports.nomad_http,
        "data_dir": str(directory / "data"),
        "ports": [first, first + _PORTS_EACH - 1],
        "consul": f"http://{consul_agent.LOOPBACK}:{ports.consul_http}",
        "consul_grpc": f"{consul_agent.LOOPBACK}:{ports.consul_grpc}",
        "consul_program": str(consul.path),
        "docker": docker,
        "mark": [[STACK_VARIABLE, str(settings.state_dir)]],
    }


class EmbeddedStack:
    """The steps of one ``up``; the record is saved after each, so that ``down`` knows of everything."""

    def __init__(self, settings: StackSettings, report: Report, binaries: Binaries, record: StackRecord) -> None:
        self._settings, self._report, self._binaries = settings, report, binaries
        self._record = replace(record, nomad=EMBEDDED)
        self._deadline = time.monotonic() + settings.timeout
        self._environment = environment(settings.state_dir, settings.state_dir / "bin")
        self._started = False

    def up(self) -> tuple[StackRecord, bool]:
        """Bring it up, or repair it; answers its record and whether anything was started."""
        settings = self._settings
        save(settings.state_dir, self._record)
        engine = None if settings.docker is False else find_engine()
        if engine is None and settings.docker:
            raise UnsuitableMachineError("no container engine answers", "start one, or leave containers out")
        self._remember(docker=engine is not None)
        self._programs()
        consul = consul_agent.consul_server(
            settings.name, self._binaries.consul, settings.ports, settings.state_dir / "consul", self._environment
        )
        with contextlib.closing(consul_agent.consul_client(consul)) as client:
            self._start(consul, lambda: consul_agent.lacks_leader(client))
        if self._binaries.registry is not None:
            directory = settings.state_dir / "registry"
            server = image_registry.registry_server(
                self._binaries.registry, settings.ports, directory, self._environment
            )
            self._start(server, lambda: image_registry.lacks_answer(server.address))
        nomad = self._agent(docker=engine is not None)
        self._write_context(self._node(nomad))
        return self._record, self._started

    def _agent(self, *, docker: bool) -> ServerRecord:
        settings = self._settings
        directory = settings.state_dir / "nomad"
        server = Server(
            name="nomad",
            binary=self._binaries.nomad,
            address=f"http://{consul_agent.LOOPBACK}:{settings.ports.nomad_http}",
            directory=directory,
            arguments=("-m", "hms_nomad.dev.agent", str(config_file(directory))),
            config=agent_config(settings, settings.ports, directory, self._binaries.consul, docker=docker),
            environment=self._environment,
        )
        with contextlib.closing(nomad_agent.nomad_client(server)) as client:
            return self._start(server, lambda: nomad_agent.lacks_leader(client))

    def _node(self, nomad: ServerRecord) -> Node:
        with contextlib.closing(nomad_agent.nomad_client(nomad)) as client:
            node = next(iter(client.ready_nodes()), None)
        if node is None:
            raise failed(nomad, "has no node")
        drivers = sorted(node.drivers)
        facts = {"node": node.id, "name": node.name, "drivers": drivers, "address": node.address}
        self._report(Event("node", f"node {node.name} is ready with {', '.join(drivers)}", facts))
        return node

    def _programs(self) -> None:
        directory = self._settings.state_dir / "bin"
        directory.mkdir(exist_ok=True, mode=0o755)
        for binary in (self._binaries.consul, self._binaries.envoy):
            link = directory / binary.name
            if not (link.is_symlink() and link.readlink() == binary.path):
                link.unlink(missing_ok=True)
                link.symlink_to(binary.path)

    def _start(self, server: Server, missing: Callable[[], str]) -> ServerRecord:
        record, started = ensure_started(server, self._record.servers.get(server.name))
        self._record = self._record.with_server(record)
        save(self._settings.state_dir, self._record)
        await_answer(record, missing, self._deadline)
        self._started |= started
        word = "started" if started else "runs already"
        facts = {"name": record.name, "pid": record.process.pid, "address": record.address, "started": started}
        name = "the embedded agent" if record.name == "nomad" else f"{server.binary.name} {server.binary.version}"
        self._report(Event("server", f"{name} {word} at {server.address}", facts))
        return record

    def _write_context(self, node: Node) -> None:
        settings = self._settings
        platform = platform_of(settings, self._record, node, self._binaries.envoy, None)
        file = save_context(platform)
        use_context(settings.name)
        self._remember(context=settings.name, sidecar=platform.sidecar.driver)
        facts = {"context": settings.name, "file": str(file)}
        self._report(Event("context", f"context {settings.name} written to {file}", facts))

    def _remember(self, **changes: str | bool) -> None:
        self._record = replace(self._record, **changes)
        save(self._settings.state_dir, self._record)


def take_down_embedded(
    settings: StackSettings, record: StackRecord, report: Report
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """End everything in good order; answers which servers were stopped, what was removed, and what could not be."""
    alloc_dir = settings.state_dir / "nomad" / "data" / "alloc"
    allocations = allocations_of(alloc_dir)
    stopped: list[str] = []
    nomad = record.servers.get("nomad")
    if nomad is not None and alive(nomad.process):
        report(Event("drain", "stopping what the embedded agent runs", {"address": nomad.address}))
        send(nomad.process, signal.SIGUSR1)
        wait_for_exit(nomad.process, _DRAIN_SECONDS)
    for name in ("nomad", "consul", "registry"):
        server = record.servers.get(name)
        if server is None:
            continue
        if alive(server.process):
            stop([server.process], _STOP_SECONDS)
        stopped.append(name)
        report(Event("server", f"{name} stopped", {"name": name, "pid": server.process.pid}))
        if name == "nomad":
            keep = {other.process for other in record.servers.values()}
            stop([found for found in of_stack(settings.state_dir, frozenset()) if found not in keep], _STOP_SECONDS)
    stop(of_stack(settings.state_dir, frozenset()), _STOP_SECONDS)
    removed: list[str] = []
    leftovers: list[str] = []
    if record.docker:
        try:
            removed += [f"container {name}" for name in remove_containers(allocations | allocations_of(alloc_dir))]
        except (StackError, OSError) as error:
            leftovers.append(f"containers: {error}")
    if not leftovers:
        remove_tree(settings.state_dir / "nomad")
    return tuple(stopped), removed, leftovers
