"""The parts of the agent put together: store, events, scheduler and client on one event loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent.alloc_runner import Machine
from hms_nomad.dev.agent.client import Client
from hms_nomad.dev.agent.consul import ConsulAgent
from hms_nomad.dev.agent.docker import DockerDriver
from hms_nomad.dev.agent.drivers import ProcessDriver
from hms_nomad.dev.agent.events import Events
from hms_nomad.dev.agent.node import make_node
from hms_nomad.dev.agent.placement import Ports
from hms_nomad.dev.agent.scheduler import Scheduler
from hms_nomad.dev.agent.sidecar import Mesh
from hms_nomad.dev.agent.store import Store, variable_key
from hms_nomad.dev.agent.values import Clock, Json, new_id, wall_clock
from hms_nomad.dev.engine import find_engine


class AgentSettings(Struct, frozen=True):
    """Where the agent listens and keeps its files, and which Consul it uses.

    ``ports`` are first and last of those that instances get; ``consul`` is the URL of its API and ``consul_program``
    its command ("": there is none), ``consul_grpc`` HOST:PORT. ``mark`` are variables of all that it starts.
    """

    name: str
    datacenter: str
    host: str
    port: int
    data_dir: Path
    ports: tuple[int, int]
    consul: str = ""
    consul_grpc: str = ""
    consul_program: str = ""
    docker: bool = True
    mark: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, body: dict[str, Any]) -> AgentSettings:
        """Settings from a file's content."""
        known = {**body, "data_dir": Path(body["data_dir"]), "ports": tuple(body["ports"])}
        return cls(**{**known, "mark": tuple((name, value) for name, value in body.get("mark") or ())})


class Core:
    """Everything behind the API. To be made on the event loop that runs it."""

    def __init__(self, settings: AgentSettings, clock: Clock = wall_clock) -> None:
        self.settings, self.clock = settings, clock
        for name in ("alloc", "run"):
            (settings.data_dir / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = Store(settings.data_dir / "state.sqlite")
        self.events = Events(self.store)
        self.consul = ConsulAgent(settings.consul)
        self.node = self._node()
        processes, engine = ProcessDriver(), find_engine() if settings.docker else None
        drivers: dict[str, Any] = {"raw_exec": processes, "exec": processes}
        if engine is not None:
            drivers["docker"] = DockerDriver(engine)
        machine = Machine(
            node=self.node,
            drivers=drivers,
            consul=self.consul,
            mesh=Mesh(settings.consul_program, settings.consul, settings.consul_grpc),
            alloc_dir=settings.data_dir / "alloc",
            run_dir=settings.data_dir / "run",
            # A real Nomad gives each task a socket; a path of ours would often be too long for one.
            mark={**dict(settings.mark), "NOMAD_UNIX_ADDR": f"http://{settings.host}:{settings.port}"},
            variable=self._variable,
            clock=clock,
        )
        self.scheduler = Scheduler(self.store, self.node["ID"], Ports(*settings.ports), clock, self._sync)
        self.client = Client(self.store, machine, self.scheduler.soon, self.scheduler.freed)

    def _variable(self, namespace: str, path: str) -> Mapping[str, str] | None:
        found = self.store.tables["variables"].get(variable_key(namespace, path))
        return None if found is None else found["Items"]

    def _sync(self, changed: set[str]) -> None:
        self.client.sync(changed)

    def start(self) -> None:
        """Take up what an earlier agent left, and what it did not get to."""
        self.client.resume()
        for key in self.store.tables["jobs"]:
            self.scheduler.soon(key)

    def close(self) -> None:
        """Stop without stopping any task."""
        self.events.end()
        self.client.close()
        self.consul.close()
        self.store.close()

    def _node(self) -> Json:
        known = next(iter(self.store.tables["nodes"].values()), None)
        node_id = known["ID"] if known else new_id()
        settings = self.settings
        has_engine = settings.docker and find_engine() is not None
        node = make_node(
            node_id, settings.name, settings.datacenter, self.consul.describe(), docker=has_engine, now=self.clock()
        )
        node["HTTPAddr"] = f"{settings.host}:{settings.port}"
        if known:
            node["CreateIndex"] = known["CreateIndex"]
        with self.store.write() as transaction:
            transaction.put("nodes", node_id, node)
            if "default" not in self.store.tables["namespaces"]:
                body = {"Name": "default", "Description": "Default shared namespace", "Meta": None}
                transaction.put("namespaces", "default", body)
        return node
