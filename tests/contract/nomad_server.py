"""Options -> a Nomad agent of one's own on free ports of 127.0.0.1, and jobs of shell commands for it."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.nomad import NomadClient
from tests.binaries import binary
from tests.certificates import Pair
from tests.processes import Server, accepts, free_port, running

MANAGEMENT_TOKEN = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@dataclass(frozen=True, slots=True)
class Nomad:
    """A running agent."""

    address: str
    token: str
    server: Server

    def client(self, token: str | None = None, **limits: Any) -> NomadClient:
        """A client with the management token, or with ``token``."""
        return NomadClient(Connection(self.address, token=self.token if token is None else token, **limits))

    def http(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the API past our client, with the management token."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"X-Nomad-Token": self.token}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def nomad_agent(directory: Path, settings: Mapping[str, Any] | None = None) -> Iterator[Nomad]:
    """A server and client in one, in development mode, whose tasks end with it; ``settings`` overrule its own."""
    own = {"telemetry": {"publish_allocation_metrics": True, "collection_interval": "1s"}}
    with _agent(directory, ["-dev"], {**own, **(settings or {})}) as nomad:
        nomad.server.wait_until(lambda: _asked(nomad, "/v1/nodes", _has_ready_node), "ready")
        yield nomad


@contextlib.contextmanager
def nomad_unmeasured(directory: Path) -> Iterator[Nomad]:
    """A server and client in one that publishes no statistics, which development mode always does."""
    settings = _server_only()
    settings["client"] = {"enabled": True, "cni_path": str(directory)}
    settings["plugin"] = [{"raw_exec": {"config": {"enabled": True}}}]
    with _agent(directory, [], settings) as nomad:
        nomad.server.wait_until(lambda: _asked(nomad, "/v1/nodes", _has_ready_node), "ready")
        yield nomad


@contextlib.contextmanager
def nomad_with_acls(directory: Path) -> Iterator[Nomad]:
    """A server and client in one that denies everything but to the token."""
    with _agent(directory, ["-dev"], {"acl": {"enabled": True}}, MANAGEMENT_TOKEN) as nomad:
        nomad.server.wait_until(lambda: _asked(nomad, "/v1/status/leader", bool), "leading")
        nomad.server.wait_until(lambda: _bootstrap(nomad), "ready for tokens")
        nomad.server.wait_until(lambda: _asked(nomad, "/v1/nodes", _has_ready_node), "ready")
        yield nomad


@contextlib.contextmanager
def nomad_with_acls_unclaimed(directory: Path) -> Iterator[Nomad]:
    """A server alone that denies everything, and to which no first token was given yet."""
    with _agent(directory, [], {**_server_only(), "acl": {"enabled": True}}) as nomad:
        nomad.server.wait_until(lambda: _asked(nomad, "/v1/status/leader", bool), "leading")
        yield nomad


@contextlib.contextmanager
def nomad_without_leader(directory: Path) -> Iterator[Nomad]:
    """A server that waits for two others, which never come."""
    settings = _server_only()
    settings["server"]["bootstrap_expect"] = 3
    with _agent(directory, [], settings) as nomad:
        nomad.server.wait_until(lambda: _asked(nomad, "/v1/agent/self", bool), "answering")
        yield nomad


@contextlib.contextmanager
def nomad_with_tls(directory: Path, ca_file: str, pair: Pair) -> Iterator[str]:
    """The https address of a server alone that demands certificates of the authority in ``ca_file``."""
    tls = {
        "http": True,
        "ca_file": ca_file,
        "cert_file": pair.certificate,
        "key_file": pair.key,
        "verify_https_client": True,
    }
    with _agent(directory, [], {"tls": tls, **_server_only()}) as nomad:
        port = int(nomad.address.rpartition(":")[2])
        nomad.server.wait_until(lambda: accepts(port), "listening")
        yield f"https://127.0.0.1:{port}"


def job(job_id: str, script: str = FOREVER, **group: Any) -> dict[str, Any]:
    """A service job of one group "main" with one task "work" that runs ``script`` in a shell."""
    return {
        "ID": job_id,
        "Name": job_id,
        "Type": "service",
        "Datacenters": ["*"],
        "Update": {"MinHealthyTime": 10_000_000, "HealthCheck": "task_states", "MaxParallel": 1},
        "TaskGroups": [
            {
                "Name": "main",
                "Count": 1,
                "RestartPolicy": {"Attempts": 0, "Mode": "fail", "Interval": 60_000_000_000, "Delay": 1_000_000_000},
                "EphemeralDisk": {"SizeMB": 10},
                "Tasks": [
                    {
                        "Name": "work",
                        "Driver": "raw_exec",
                        "Config": {"command": "/bin/sh", "args": ["-c", script]},
                        "Resources": {"CPU": 20, "MemoryMB": 16},
                        "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
                    }
                ],
                **group,
            }
        ],
    }


@contextlib.contextmanager
def _agent(directory: Path, options: list[str], settings: Mapping[str, Any], token: str = "") -> Iterator[Nomad]:
    program = binary("nomad")
    port = free_port()
    config = {
        "name": "contract",
        "bind_addr": "127.0.0.1",
        "data_dir": str(directory / "data"),
        "ports": {"http": port, "rpc": free_port(), "serf": free_port()},
        "consul": {"address": "127.0.0.1:1", "auto_advertise": False, "client_auto_join": False},
        # Jobs may speak of a Vault; none is there.
        "vault": {"enabled": True, "address": "http://127.0.0.1:1"},
        "disable_update_check": True,
        **settings,
    }
    denied = ["env_aws", "env_azure", "env_digitalocean", "env_gce", "vault"]
    denied += [] if "consul" in settings else ["consul"]
    # The machine may be in a cloud or look as if it were; asking its metadata service only costs time.
    config["client"] = {**config.get("client", {}), "options": {"fingerprint.denylist": ",".join(denied)}}
    file = directory / "nomad.json"
    file.write_text(json.dumps(config))
    with running([program, "agent", *options, f"-config={file}"], directory) as server:
        yield Nomad(f"http://127.0.0.1:{port}", token, server)


def _server_only() -> dict[str, Any]:
    return {
        "advertise": {"http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1"},
        "server": {"enabled": True, "bootstrap_expect": 1},
        "client": {"enabled": False},
    }


def _asked(nomad: Nomad, path: str, judge: Any) -> bool:
    try:
        return bool(judge(nomad.http("GET", path)))
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _has_ready_node(nodes: Any) -> bool:
    return any(node["Status"] == "ready" and node["Drivers"]["raw_exec"]["Healthy"] for node in nodes)


def _bootstrap(nomad: Nomad) -> bool:
    try:
        nomad.http("POST", "/v1/acl/bootstrap", {"BootstrapSecret": MANAGEMENT_TOKEN})
    except urllib.error.HTTPError as error:
        return error.code == 400
    return True
