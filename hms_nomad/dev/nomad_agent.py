"""Ports, slot and directories -> the stack's Nomad: server and client in one agent, its allocations on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.consul_agent import DATACENTER, LOOPBACK
from hms_nomad.dev.network import Slot
from hms_nomad.dev.security import Security
from hms_nomad.dev.server import Server, config_file
from hms_nomad.dev.settings import Ports
from hms_nomad.dev.state import ServerRecord
from hms_nomad.dev.system import attempt

REGION = "global"
VAULT_AUTH_PATH = "jwt-nomad"
VAULT_AUDIENCE = "vault.io"
CONSUL_AUTH_METHOD = "nomad-workloads"
CONSUL_AUDIENCE = "consul.io"

_CLOUDS = "env_aws,env_gce,env_azure,env_digitalocean"


class Node(Struct, frozen=True):
    """What the Nomad client is given: its place on the machine, plugins, chroot, and a pause image where it has one.

    ``transparent_cni`` is the directory of Consul's own plugin, where it lies apart from the others in ``cni_dir``.
    ``docker`` is the engine's socket, or None where the stack does without, ``docker_auth`` the configuration with the
    credentials of registries that the driver pulls with; ``alloc_dir`` is short, see ``Slot``.
    """

    slot: Slot
    cni_dir: Path
    alloc_dir: Path
    rootfs: Path
    docker: Path | None
    pause_image: str
    vault: str | None
    transparent_cni: Path | None = None
    docker_auth: Path | None = None


def nomad_server(
    name: str,
    binary: Binary,
    ports: Ports,
    node: Node,
    directory: Path,
    environment: Mapping[str, str],
    security: Security | None = None,
) -> Server:
    """The Nomad of a stack named ``name``."""
    return Server(
        name="nomad",
        binary=binary,
        address=f"{'https' if security else 'http'}://{LOOPBACK}:{ports.nomad_http}",
        directory=directory,
        arguments=("agent", "-config", str(config_file(directory))),
        config=nomad_config(name, ports, node, directory / "data", security),
        environment=environment,
        ca_file=security.ca_file if security else "",
    )


def nomad_config(
    name: str, ports: Ports, node: Node, data_dir: Path, security: Security | None = None
) -> dict[str, Any]:
    """The agent's configuration (https://developer.hashicorp.com/nomad/docs/configuration)."""
    config: dict[str, Any] = {
        "name": f"hms-{name}",
        "region": REGION,
        "datacenter": DATACENTER,
        "data_dir": str(data_dir),
        "bind_addr": LOOPBACK,
        "advertise": dict.fromkeys(("http", "rpc", "serf"), LOOPBACK),
        "ports": {"http": ports.nomad_http, "rpc": ports.nomad_rpc, "serf": ports.nomad_serf},
        "disable_update_check": True,
        "log_level": "INFO",
        "server": {"enabled": True, "bootstrap_expect": 1, "raft_multiplier": 1},
        "client": _client(node),
        "plugin": [{"raw_exec": {"config": {"enabled": True}}}],
        "consul": {
            "address": f"{LOOPBACK}:{ports.consul_http}",
            "grpc_address": f"{LOOPBACK}:{ports.consul_grpc}",
            "server_auto_join": False,
            "client_auto_join": False,
        },
        # Without it the client measures no allocation at all, and nothing is ever scaled up.
        "telemetry": {
            "publish_allocation_metrics": True,
            "publish_node_metrics": True,
            "prometheus_metrics": True,
        },
    }
    if node.docker is not None:
        config["plugin"].append({"docker": {"config": _docker(node.docker, node)}})
    if node.vault is not None:
        config["vault"] = {
            "enabled": True,
            "address": node.vault,
            "jwt_auth_backend_path": VAULT_AUTH_PATH,
            "default_identity": {"aud": [VAULT_AUDIENCE], "ttl": "1h"},
        }
    if security is not None:
        _secure(config, ports, security)
    return config


def nomad_client(server: Server | ServerRecord, token: str = "") -> NomadClient:
    """A client that reports the first refusal at once: the waiting is done by its caller."""
    return NomadClient(Connection(address=server.address, token=token, ca_file=server.ca_file or None, retry_seconds=0))


def program_environment(server: ServerRecord, token: str) -> dict[str, str]:
    """What Nomad's own command finds a secure server by: variables, which unlike arguments nobody else can read."""
    variables = {"NOMAD_ADDR": server.address}
    if server.ca_file:
        variables |= {"NOMAD_CACERT": server.ca_file, "NOMAD_TOKEN": token}
    return variables


def lacks_leader(client: NomadClient) -> str:
    """What keeps a Nomad from answering writes, or nothing."""
    return "" if client.leader() else "it has no leader yet"


def without_node(server: Server) -> Server:
    """The same agent before it takes work: only the server, which makes its first keys."""
    return replace(server, config={**server.config, "client": {"enabled": False}})


def lacks_keys(server: ServerRecord, token: str) -> str:
    """What keeps a Nomad from registering its node, or nothing.

    A node that asks before the keys are there is refused, and asks again only a quarter of a minute later.
    """
    command = [server.binary, "operator", "root", "keyring", "list"]
    listed = attempt(command, program_environment(server, token)) or ""
    return "" if "active" in listed else "its keyring is not initialized yet"


def _secure(config: dict[str, Any], ports: Ports, security: Security) -> None:
    """What a secure Nomad has besides: access lists, TLS, encrypted gossip, and identities by which jobs log in."""
    pair = security.authority.pair("nomad")
    config["acl"] = {"enabled": True}
    config["tls"] = {
        "http": True,
        "rpc": True,
        "ca_file": security.ca_file,
        "cert_file": str(pair.certificate),
        "key_file": str(pair.key),
        "verify_server_hostname": True,
        # People have tokens, no certificates.
        "verify_https_client": False,
    }
    config["server"]["encrypt"] = security.gossip_key("nomad")
    identity = {"aud": [CONSUL_AUDIENCE], "ttl": "1h"}
    config["consul"] |= {
        "ssl": True,
        "ca_file": security.ca_file,
        "grpc_ca_file": security.ca_file,
        "grpc_address": f"{LOOPBACK}:{ports.consul_grpc_tls}",
        "token": security.token("consul-nomad"),
        "service_auth_method": CONSUL_AUTH_METHOD,
        "task_auth_method": CONSUL_AUTH_METHOD,
        "service_identity": identity,
        "task_identity": identity,
    }
    if "vault" in config:
        config["vault"]["ca_file"] = security.ca_file


def _client(node: Node) -> dict[str, Any]:
    options = {"fingerprint.denylist": _CLOUDS}
    if node.docker is None:
        options["driver.denylist"] = "docker"
    first, last = node.slot.dynamic_ports
    return {
        "enabled": True,
        "network_interface": node.slot.interface,
        "bridge_network_name": node.slot.bridge,
        "bridge_network_subnet": node.slot.subnet,
        "min_dynamic_port": first,
        "max_dynamic_port": last,
        "cni_path": ":".join(str(one) for one in (node.cni_dir, node.transparent_cni) if one),
        "alloc_dir": str(node.alloc_dir),
        "chroot_env": {str(node.rootfs): "/"},
        "options": options,
        # A developer's disk is often nearly full; the logs of ended tasks are wanted all the same.
        "gc_disk_usage_threshold": 99,
    }


def _docker(socket: Path, node: Node) -> dict[str, Any]:
    config: dict[str, Any] = {
        "endpoint": f"unix://{socket}",
        "extra_labels": ["job_name", "task_group_name", "task_name", "namespace"],
        "gc": {
            # Images of a developer are often only here: nothing brings them back once they are removed.
            "image": False,
            # It removes the containers of every other Nomad on this engine, for it does not know them.
            "dangling_containers": {"enabled": False},
        },
    }
    if node.pause_image:
        config["infra_image"] = node.pause_image
    if node.docker_auth is not None:
        config["auth"] = {"config": str(node.docker_auth)}
    return config
