"""Faults of real meshes: each is planted, and the doctor names it."""

from __future__ import annotations

import socket
from pathlib import Path

from hms_nomad.platform.model_proxies import Sidecar
from hms_nomad.workflows.doctor.mesh import ask_dns
from tests.certificates import Authority
from tests.contract.consul_server import consul_process
from tests.contract.nomad_server import nomad_agent
from tests.live.doctor.patients import Reach, codes, patient
from tests.processes import free_port


def test_a_mesh_that_everybody_may_use(tmp_path: Path) -> None:
    config = {"ports": {"grpc": -1}}
    with consul_process(tmp_path, config=config) as consul:
        session = patient(consul=Reach(consul.address))
        assert codes(session, "consul") == {"D302", "D306"}
        source = {"Name": "*", "Action": "allow"}
        consul.http("PUT", "/v1/config", {"Kind": "service-intentions", "Name": "*", "Sources": [source]})
        assert codes(session, "intentions of *") == {"D307"}
        keys = {"Remote": {"URI": "https://idp.gov/keys"}}
        consul.http(
            "PUT",
            "/v1/config",
            {"Kind": "jwt-provider", "Name": "idp", "Issuer": "idp", "JSONWebKeySet": keys},
        )
        assert codes(session, "jwt-provider idp") == {"D309"}


def test_roots_that_end_soon_and_an_envoy_that_is_too_old(tmp_path: Path) -> None:
    authority = {"leaf_cert_ttl": "1h", "intermediate_cert_ttl": "24h", "root_cert_ttl": "48h"}
    config = {"connect": {"enabled": True, "ca_config": authority}, "default_intention_policy": "deny"}
    with consul_process(tmp_path, config=config) as consul:
        image = Sidecar(driver="docker", image="envoyproxy/envoy:v1.20.0")
        found = codes(patient(consul=Reach(consul.address), sidecar=image))
    assert {"D305", "D311"} <= found
    assert not found & {"D302", "D306", "D308"}


def test_an_authority_that_signs_nothing(tmp_path: Path) -> None:
    config = {
        "default_intention_policy": "deny",
        "connect": {
            "enabled": True,
            "ca_provider": "vault",
            "ca_config": {
                "address": "http://127.0.0.1:9",
                "token": "nobody",
                "root_pki_path": "root",
                "intermediate_pki_path": "intermediate",
            },
        },
    }
    with consul_process(tmp_path, config=config) as consul:
        assert codes(patient(consul=Reach(consul.address)), "consul") == {"D308"}


def test_nomad_that_is_not_told_the_authority_of_grpc(tmp_path: Path) -> None:
    for name in ("n", "c"):
        (tmp_path / name).mkdir()
    authority = Authority(tmp_path / "ca")
    own = authority.issue("server")
    files = {"ca_file": authority.file, "cert_file": own.certificate, "key_file": own.key}
    tls_port = free_port()
    config = {
        "ports": {"grpc": -1, "grpc_tls": tls_port},
        "tls": {"grpc": files},
        "default_intention_policy": "deny",
    }
    with consul_process(tmp_path / "c", config=config) as consul:
        place = consul.address.removeprefix("http://")
        settings = {"consul": {"address": place, "grpc_address": f"127.0.0.1:{tls_port}"}}
        with nomad_agent(tmp_path / "n", settings) as nomad:
            session = patient(Reach(nomad.address), Reach(consul.address))
            assert "D303" in codes(session, "nomad")
            assert "D302" not in codes(session)


def test_dns_that_does_not_answer_or_is_none(tmp_path: Path) -> None:
    port = free_port()
    with consul_process(tmp_path, config={"ports": {"dns": port}, "default_intention_policy": "deny"}) as consul:
        session = patient(consul=Reach(consul.address))
        assert "D310" not in codes(session, "consul")
        assert ask_dns("127.0.0.1", port) == ""
    assert "refused" in ask_dns("127.0.0.1", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert "nothing came" in ask_dns("127.0.0.1", silent.getsockname()[1])
