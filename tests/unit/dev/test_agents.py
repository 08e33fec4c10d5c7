from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.consul_agent import consul_config, consul_server
from hms_nomad.dev.network import Slot
from hms_nomad.dev.nomad_agent import Node, nomad_config, nomad_server, without_node
from hms_nomad.dev.security import Security, ensure_security
from hms_nomad.dev.server import Server
from hms_nomad.dev.settings import Ports
from hms_nomad.dev.vault_server import vault_config, vault_server

_PORTS = Ports.shifted(1000)
_NODE = Node(
    slot=Slot(2),
    cni_dir=Path("/usr/lib/cni"),
    alloc_dir=Path("/var/lib/hms-nomad/2/alloc"),
    rootfs=Path("/var/lib/hms-nomad/2/rootfs"),
    docker=Path("/var/run/docker.sock"),
    pause_image="hms-nomad/dev-pause:1",
    vault="http://127.0.0.1:9200",
)


def _nomad(**changes: Any) -> dict[str, Any]:
    return nomad_config("dev", _PORTS, replace(_NODE, **changes), Path("/state/nomad/data"))


def _plugin(config: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((plugin[name]["config"] for plugin in config["plugin"] if name in plugin), None)


def test_every_server_listens_on_loopback_only() -> None:
    consul = consul_config("dev", _PORTS, Path("/data"))
    nomad = _nomad()
    vault = vault_config(_PORTS, Path("/data"))

    assert (consul["bind_addr"], consul["client_addr"]) == ("127.0.0.1", "127.0.0.1")
    assert (nomad["bind_addr"], set(nomad["advertise"].values())) == ("127.0.0.1", {"127.0.0.1"})
    assert vault["listener"][0]["tcp"]["address"] == "127.0.0.1:9200"


def test_all_ports_move_with_the_offset() -> None:
    ports = consul_config("dev", _PORTS, Path("/data"))["ports"]

    assert (ports["http"], ports["grpc"], ports["dns"]) == (9500, 9502, 9600)
    assert _nomad()["ports"] == {"http": 5646, "rpc": 5647, "serf": 5648}
    assert _nomad()["consul"] | {"address": "127.0.0.1:9500", "grpc_address": "127.0.0.1:9502"} == _nomad()["consul"]


def test_what_checks_answer_is_known_long_before_a_deploy_gives_up() -> None:
    assert consul_config("dev", _PORTS, Path("/data"))["check_update_interval"] == "5s"


def test_the_mesh_is_on_denies_what_nobody_allowed_and_has_one_grpc_port() -> None:
    config = consul_config("dev", _PORTS, Path("/data"))

    assert config["connect"] == {"enabled": True}
    assert config["default_intention_policy"] == "deny"
    assert config["ports"]["grpc_tls"] == config["ports"]["https"] == -1


def test_allocations_are_measured_and_no_cloud_is_asked() -> None:
    config = _nomad()

    assert config["telemetry"]["publish_allocation_metrics"] is True
    assert set(config["client"]["options"]["fingerprint.denylist"].split(",")) == {
        "env_aws",
        "env_gce",
        "env_azure",
        "env_digitalocean",
    }


def test_a_stack_has_its_own_interface_bridge_subnet_and_chroot() -> None:
    client = _nomad()["client"]

    assert client["network_interface"] == "hms2"
    assert client["bridge_network_name"] == "hms2-allocs"
    assert client["bridge_network_subnet"] == "10.254.8.0/22"
    assert client["chroot_env"] == {"/var/lib/hms-nomad/2/rootfs": "/"}


def test_the_engine_keeps_the_images_and_the_containers_of_other_nomads() -> None:
    docker = _plugin(_nomad(), "docker")

    assert docker is not None
    assert docker["gc"] == {"image": False, "dangling_containers": {"enabled": False}}
    assert docker["infra_image"] == "hms-nomad/dev-pause:1"
    assert "infra_image" not in (_plugin(_nomad(pause_image=""), "docker") or {})
    assert "auth" not in docker
    known = _plugin(_nomad(docker_auth=Path("/home/jane/.docker/config.json")), "docker") or {}
    assert known["auth"] == {"config": "/home/jane/.docker/config.json"}


def test_without_an_engine_its_driver_is_not_even_asked_for() -> None:
    config = _nomad(docker=None, pause_image="")

    assert _plugin(config, "docker") is None
    assert config["client"]["options"]["driver.denylist"] == "docker"
    assert _plugin(config, "raw_exec") == {"enabled": True}


@pytest.mark.parametrize("vault", [None, "http://127.0.0.1:9200"])
def test_workloads_get_an_identity_for_vault_where_there_is_one(vault: str | None) -> None:
    config = _nomad(vault=vault)

    assert ("vault" in config) == (vault is not None)
    if vault:
        assert config["vault"]["address"] == vault
        assert config["vault"]["default_identity"] == {"aud": ["vault.io"], "ttl": "1h"}


def test_before_its_first_keys_the_agent_takes_no_work() -> None:
    config = _nomad()
    server = Server("nomad", None, "", Path(), (), config, {})  # type: ignore[arg-type]

    first = without_node(server)

    assert first.config["client"] == {"enabled": False}
    assert first.config["ports"] == config["ports"]
    assert config["client"]["enabled"] is True


@pytest.fixture
def security(tmp_path: Path) -> Security:
    return ensure_security(tmp_path)


def test_a_secure_consul_denies_by_default_and_speaks_tls_alone(security: Security) -> None:
    config = consul_config("dev", _PORTS, Path("/data"), security)

    assert config["acl"]["enabled"]
    assert config["acl"]["default_policy"] == "deny"
    assert config["acl"]["tokens"]["initial_management"] == security.stored("consul-management")
    assert (config["ports"]["http"], config["ports"]["https"], config["ports"]["grpc_tls"]) == (-1, 9500, 9503)
    assert config["tls"]["defaults"]["verify_outgoing"]
    assert config["tls"]["internal_rpc"] == {"verify_incoming": True, "verify_server_hostname": True}
    assert config["encrypt"] == security.stored("consul-gossip")


def test_a_secure_nomad_denies_by_default_speaks_tls_and_knows_its_jobs(security: Security) -> None:
    config = nomad_config("dev", _PORTS, _NODE, Path("/data"), security)

    assert config["acl"] == {"enabled": True}
    assert (config["tls"]["http"], config["tls"]["rpc"], config["tls"]["verify_server_hostname"]) == (True, True, True)
    assert config["server"]["encrypt"] == security.stored("nomad-gossip")
    assert config["consul"]["ssl"]
    assert config["consul"]["grpc_address"] == "127.0.0.1:9503"
    assert config["consul"]["service_identity"] == {"aud": ["consul.io"], "ttl": "1h"}
    assert {config["consul"]["ca_file"], config["consul"]["grpc_ca_file"], config["vault"]["ca_file"]} == {
        security.ca_file
    }


def test_a_secure_vault_has_a_certificate(security: Security) -> None:
    config = vault_config(_PORTS, Path("/data"), security)

    assert config["api_addr"] == "https://127.0.0.1:9200"
    assert "tls_disable" not in config["listener"][0]["tcp"]
    assert config["listener"][0]["tcp"]["tls_key_file"] == str(security.authority.pair("vault").key)


def test_no_secret_of_a_secure_stack_is_an_argument(security: Security) -> None:
    binary = Binary("x", Path("/bin/true"), "1")
    servers = [
        consul_server("dev", binary, _PORTS, Path("/c"), {}, security),
        nomad_server("dev", binary, _PORTS, _NODE, Path("/n"), {}, security),
        vault_server(binary, _PORTS, Path("/v"), {}, security),
    ]
    secrets = [file.read_text().strip() for file in security.directory.iterdir()]

    assert secrets
    assert {server.address.partition(":")[0] for server in servers} == {"https"}
    assert {server.ca_file for server in servers} == {security.ca_file}
    told = [*(word for server in servers for word in server.arguments), *(server.digest for server in servers)]
    assert not [secret for secret in secrets for word in told if secret in word]
