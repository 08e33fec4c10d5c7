"""Three servers of Nomad and three of Consul, each at an address of its own in 127.0.0.0/8, to be killed and restarted.

No client of Nomad belongs to them: what is deployed stays pending, which is enough for whoever does not wait.
"""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.binaries import binary
from tests.processes import Server, free_port, running
from tests.waiting import eventually

_HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


@dataclass
class Member:
    """One server: its host, the address of its API, and how to start it."""

    host: str
    address: str
    command: list[str]
    directory: Path
    server: Server | None = None


@dataclass
class Cluster:
    """Three servers of one kind. Use ``three_of_nomad`` and ``three_of_consul``."""

    members: list[Member]
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self, *members: Member) -> None:
        """Start members (all of them without any named), and wait until there is a leader that all of them know."""
        for member in members or self.members:
            member.server = self.stack.enter_context(running(member.command, member.directory))
        self.settled()

    def settled(self) -> None:
        """Wait until all members that run know the same leader, and its peers."""
        alive = [member for member in self.members if member.server is not None]
        eventually(
            lambda: {(_ask(one, "/v1/status/leader"), len(_ask(one, "/v1/status/peers") or ())) for one in alive},
            lambda known: len(known) == 1 and all(leader and peers >= len(alive) for leader, peers in known),
        )

    def leader(self) -> Member:
        """The member that leads."""
        alive = [member for member in self.members if member.server is not None]
        host = str(_ask(alive[0], "/v1/status/leader")).partition(":")[0]
        return next(member for member in alive if member.host == host)

    def follower(self) -> Member:
        """A member that runs and does not lead."""
        leader = self.leader()
        return next(member for member in self.members if member.server is not None and member is not leader)

    def kill(self, *members: Member) -> None:
        """End members with SIGKILL."""
        for member in members:
            if member.server is not None:
                member.server.process.kill()
                member.server.process.wait()
                member.server = None


@contextlib.contextmanager
def three_of_consul(directory: Path) -> Iterator[Cluster]:
    """Three Consul servers with a leader."""
    ports = {"http": free_port(), "server": free_port(), "serf_lan": free_port(), "grpc": free_port()}
    off = dict.fromkeys(("https", "grpc_tls", "dns", "serf_wan"), -1)

    def settings(host: str, folder: Path) -> dict[str, Any]:
        return {
            "node_name": f"consul-{host}",
            "bind_addr": host,
            "client_addr": host,
            "server": True,
            "bootstrap_expect": len(_HOSTS),
            "data_dir": str(folder / "data"),
            "retry_join": [f"{each}:{ports['serf_lan']}" for each in _HOSTS],
            "retry_interval": "1s",
            "ports": {**ports, **off},
            "performance": {"raft_multiplier": 1},
            "connect": {"enabled": True},
            "leave_on_terminate": False,
        }

    with _three(directory, "consul", ports["http"], settings, "-config-file") as cluster:
        yield cluster


@contextlib.contextmanager
def three_of_nomad(directory: Path) -> Iterator[Cluster]:
    """Three Nomad servers with a leader."""
    ports = {"http": free_port(), "rpc": free_port(), "serf": free_port()}

    def settings(host: str, folder: Path) -> dict[str, Any]:
        return {
            "name": f"nomad-{host}",
            "bind_addr": host,
            "advertise": dict.fromkeys(ports, host),
            "data_dir": str(folder / "data"),
            "ports": ports,
            "server": {
                "enabled": True,
                "bootstrap_expect": len(_HOSTS),
                "raft_multiplier": 1,
                "server_join": {
                    "retry_join": [f"{each}:{ports['serf']}" for each in _HOSTS],
                    "retry_interval": "1s",
                },
            },
            "consul": {"address": "127.0.0.1:1", "auto_advertise": False, "server_auto_join": False},
            "disable_update_check": True,
        }

    with _three(directory, "nomad", ports["http"], settings, "-config") as cluster:
        yield cluster


@contextlib.contextmanager
def _three(
    directory: Path, program: str, port: int, settings: Callable[[str, Path], Mapping[str, Any]], option: str
) -> Iterator[Cluster]:
    members = []
    for host in _HOSTS:
        folder = directory / f"{program}-{host}"
        folder.mkdir(parents=True)
        file = folder / "settings.json"
        file.write_text(json.dumps(settings(host, folder)), encoding="utf-8")
        command = [binary(program), "agent", f"{option}={file}"]
        members.append(Member(host, f"http://{host}:{port}", command, folder))
    cluster = Cluster(members)
    with cluster.stack:
        cluster.start()
        yield cluster


def _ask(member: Member, path: str) -> Any:
    try:
        with urllib.request.urlopen(member.address + path, timeout=10) as answer:
            return json.loads(answer.read() or b"null")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
