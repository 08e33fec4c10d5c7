"""Ports and directories -> the stack's Consul: one server on loopback, with the mesh and its gRPC port on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.security import Security
from hms_nomad.dev.server import Server, config_file
from hms_nomad.dev.settings import Ports
from hms_nomad.dev.state import ServerRecord

LOOPBACK = "127.0.0.1"
DATACENTER = "dc1"


def consul_server(
    name: str,
    binary: Binary,
    ports: Ports,
    directory: Path,
    environment: Mapping[str, str],
    security: Security | None = None,
) -> Server:
    """The Consul of a stack named ``name``."""
    return Server(
        name="consul",
        binary=binary,
        address=f"{'https' if security else 'http'}://{LOOPBACK}:{ports.consul_http}",
        directory=directory,
        arguments=("agent", "-config-file", str(config_file(directory))),
        config=consul_config(name, ports, directory / "data", security),
        environment=environment,
        ca_file=security.ca_file if security else "",
    )


def consul_config(name: str, ports: Ports, data_dir: Path, security: Security | None = None) -> dict[str, Any]:
    """The agent's configuration (https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file).

    A service that nobody allowed is refused: without access control lists, Consul's own default would be to allow.
    """
    config: dict[str, Any] = {
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
        # By default an answer that changes no state waits 5 minutes: a check that never passed would have no reason.
        "check_update_interval": "5s",
        "log_level": "info",
    }
    return config | _secured(config["ports"], ports, security) if security else config


def lacks_leader(client: ConsulClient) -> str:
    """What keeps a Consul from answering writes, or nothing."""
    return "" if client.leader() else "it has no leader yet"


def consul_client(server: Server | ServerRecord, token: str = "") -> ConsulClient:
    """A client that reports the first refusal at once: the waiting is done by its caller."""
    return ConsulClient(
        Connection(address=server.address, token=token, ca_file=server.ca_file or None, retry_seconds=0)
    )


def _secured(open_ports: Mapping[str, int], ports: Ports, security: Security) -> dict[str, Any]:
    """What a secure Consul has besides: access lists, TLS in place of plain HTTP, encrypted gossip.

    The plain gRPC port stays beside the one with TLS, for the platform's own proxies on this machine; both ask for
    tokens. Tokens stand in the agent's configuration, which is private, and are made once it answers.
    """
    pair = security.authority.pair("consul")
    files = {"ca_file": security.ca_file, "cert_file": str(pair.certificate), "key_file": str(pair.key)}
    agent = security.token("consul-agent")
    return {
        "ports": {**open_ports, "http": -1, "https": ports.consul_http, "grpc_tls": ports.consul_grpc_tls},
        "tls": {
            "defaults": {**files, "verify_outgoing": True},
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
        },
        "encrypt": security.gossip_key("consul"),
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "tokens": {"initial_management": security.token("consul-management"), "agent": agent, "dns": agent},
        },
    }
