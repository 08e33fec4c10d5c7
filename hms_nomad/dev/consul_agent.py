"""Ports and directories -> the stack's Consul: one server on loopback, with the mesh and its gRPC port on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.server import Server, config_file
from hms_nomad.dev.settings import Ports

LOOPBACK = "127.0.0.1"
DATACENTER = "dc1"


def consul_server(name: str, binary: Binary, ports: Ports, directory: Path, environment: Mapping[str, str]) -> Server:
    """The Consul of a stack named ``name``."""
    return Server(
        name="consul",
        binary=binary,
        address=f"http://{LOOPBACK}:{ports.consul_http}",
        directory=directory,
        arguments=("agent", "-config-file", str(config_file(directory))),
        config=consul_config(name, ports, directory / "data"),
        environment=environment,
    )


def consul_config(name: str, ports: Ports, data_dir: Path) -> dict[str, Any]:
    """The agent's configuration (https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file).

    A service that nobody allowed is refused: without access control lists, Consul's own default would be to allow.
    """
    return {
        "node_name": f"hms-{name}",
        "datacenter": DATACENTER,
        "data_dir": str(data_dir),
        "server": True,
        "bootstrap_expect": 1,
        "bind_addr": LOOPBACK,
        "client_addr": LOOPBACK,
        "ports": {
            "http": ports.consul_http,
            "grpc": ports.consul_grpc,
            "dns": ports.consul_dns,
            "server": ports.consul_rpc,
            "serf_lan": ports.consul_serf,
            "serf_wan": -1,
            "https": -1,
            # With a TLS port beside the plain one, Envoy's bootstrap takes that and fails for want of an authority.
            "grpc_tls": -1,
        },
        "connect": {"enabled": True},
        "default_intention_policy": "deny",
        "ui_config": {"enabled": True},
        # Without a retention its page for Prometheus answers an error.
        "telemetry": {"prometheus_retention_time": "1h", "disable_hostname": True},
        "performance": {"raft_multiplier": 1},
        # A laptop may sleep for weeks; by default a server that was away for one refuses to come back.
        "server_rejoin_age_max": "8760h",
        "disable_update_check": True,
        "log_level": "info",
    }


def lacks_leader(client: ConsulClient) -> str:
    """What keeps a Consul from answering writes, or nothing."""
    return "" if client.leader() else "it has no leader yet"


def consul_client(address: str) -> ConsulClient:
    """A client that reports the first refusal at once: the waiting is done by its caller."""
    return ConsulClient(Connection(address=address, retry_seconds=0))
