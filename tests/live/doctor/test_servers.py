"""Faults of real servers: each is planted, and the doctor names it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hms_nomad.platform.model_proxies import Sidecar
from tests.certificates import Authority, Pair
from tests.contract.consul_server import Consul, consul_process, consul_with_tls, consul_without_leader
from tests.contract.nomad_server import (
    nomad_agent,
    nomad_unmeasured,
    nomad_with_acls,
    nomad_with_tls,
    nomad_without_leader,
)
from tests.contract.vault_server import new_vault, vault_process, vault_with_tls
from tests.live.doctor.patients import NOWHERE, Reach, codes, patient
from tests.waiting import eventually

UNKNOWN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with consul_process(tmp_path_factory.mktemp("consul")) as server:
        yield server


@dataclass
class Web:
    """A web server that is none of ours; ``date`` is what it says the time is."""

    address: str
    body: bytes = b"<!doctype html><html>welcome</html>"
    date: str = "Wed, 25 Nov 2020 00:00:00 GMT"


@pytest.fixture
def web() -> Iterator[Web]:
    shown = Web("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", shown.date)
            self.send_header("Content-Length", str(len(shown.body)))
            self.end_headers()
            self.wfile.write(shown.body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    shown.address = f"http://127.0.0.1:{server.server_port}"
    yield shown
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_is_not_there_or_has_no_name() -> None:
    session = patient(consul=Reach("http://consul.invalid:8500"), vault=Reach(NOWHERE))
    assert codes(session, "nomad") == {"D101"}
    assert codes(session, "consul") == {"D102"}
    assert codes(session, "vault") == {"D101"}


def test_another_program_or_a_wrong_clock(web: Web) -> None:
    assert codes(patient(consul=Reach(web.address)), "consul") == {"D118"}
    web.body = b'"127.0.0.1:8300"'
    assert "D116" in codes(patient(consul=Reach(web.address)), "consul")


def test_a_server_that_is_frozen(consul: Consul) -> None:
    assert consul.server is not None
    with consul.server.frozen():
        assert codes(patient(consul=Reach(consul.address)), "consul") == {"D106"}


def test_servers_without_a_leader(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "c").mkdir()
    with nomad_without_leader(tmp_path / "n") as nomad, consul_without_leader(tmp_path / "c") as consul:
        session = patient(Reach(nomad.address, patience=9.0), Reach(consul.address))
        assert "D110" in codes(session, "nomad")
        assert "D110" in codes(session, "consul")


@pytest.mark.parametrize(
    ("name", "run"), [("nomad", nomad_with_tls), ("consul", consul_with_tls), ("vault", vault_with_tls)]
)
def test_certificates_that_are_not_right(name, run, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    own: Pair = authority.issue(f"{name}-client")
    (tmp_path / "server").mkdir()
    with run(tmp_path / "server", authority.file, authority.issue(f"{name}-server")) as address:
        good = Reach(address, ca_file=authority.file, client_cert=own.certificate, client_key=own.key)
        wrong = {
            "D103": replace(good, ca_file=other.file),
            "D104": replace(good, client_cert=None, client_key=None),
            "D105": replace(good, address=address.replace("https", "http")),
        }
        found = {code: codes(patient(**{name: reach}), name) for code, reach in wrong.items()}
        named = codes(patient(**{name: replace(good, tls_server_name="elsewhere.gov")}), name)
        sound = codes(patient(**{name: good}), name)
    # Vault drops what is not encrypted without a word.
    assert {code: code in seen for code, seen in found.items()} == dict.fromkeys(wrong, True)
    assert named == {"D103"}
    assert not sound & {"D101", "D103", "D104", "D105"}


def test_a_certificate_that_is_out_of_date(authority: Authority, tmp_path: Path) -> None:
    with consul_with_tls(tmp_path, authority.file, authority.issue("late", days=-1)) as address:
        own = authority.issue("client")
        reach = Reach(address, ca_file=authority.file, client_cert=own.certificate, client_key=own.key)
        assert codes(patient(consul=reach), "consul") == {"D103"}


def test_https_where_http_is_spoken(consul: Consul) -> None:
    assert codes(patient(consul=Reach(consul.address.replace("http", "https"))), "consul") == {"D105"}


def test_tokens_that_are_unknown_too_mighty_or_too_weak(tmp_path: Path) -> None:
    for name in ("n", "c", "v"):
        (tmp_path / name).mkdir()
    with (
        nomad_with_acls(tmp_path / "n") as nomad,
        consul_process(tmp_path / "c", acl=True) as consul,
        vault_process(tmp_path / "v") as vault,
    ):
        strangers = patient(
            Reach(nomad.address, UNKNOWN), Reach(consul.address, UNKNOWN), Reach(vault.address, UNKNOWN)
        )
        mighty = patient(
            Reach(nomad.address, nomad.token), Reach(consul.address, consul.token), Reach(vault.address, vault.token)
        )
        for server in ("nomad", "consul", "vault"):
            assert codes(strangers, server) == {"D111"}
            assert "D117" in codes(mighty, server)
        rules = 'namespace "default" { capabilities = ["list-jobs"] }'
        nomad.http("POST", "/v1/acl/policy/few", {"Name": "few", "Rules": rules})
        few = nomad.http("POST", "/v1/acl/token", {"Name": "few", "Type": "client", "Policies": ["few"]})["SecretID"]
        consul.http("PUT", "/v1/acl/policy", {"Name": "few", "Rules": 'service_prefix "" { policy = "read" }'})
        none = consul.http("PUT", "/v1/acl/token", {"Policies": [{"Name": "few"}]})["SecretID"]
        short = vault.http("POST", "auth/token/create", {"policies": ["default"], "ttl": "60s", "renewable": False})
        weak = patient(
            Reach(nomad.address, few),
            Reach(consul.address, none),
            Reach(vault.address, short["auth"]["client_token"]),
        )
        assert "D401" in codes(weak, "nomad")
        assert "D401" in codes(weak, "consul")
        assert codes(weak, "vault", role="deployer") == {"D115", "D401"}


def test_a_vault_that_is_sealed_or_new(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with vault_process(tmp_path / "old") as vault, new_vault(tmp_path / "new") as fresh:
        assert codes(patient(vault=Reach(fresh.address)), "vault") == {"D113"}
        vault.http("PUT", "sys/seal")
        assert codes(patient(vault=Reach(vault.address, vault.token)), "vault") == {"D112"}


def test_nodes_that_lack_what_services_need(tmp_path: Path) -> None:
    with nomad_unmeasured(tmp_path) as nomad:
        session = patient(Reach(nomad.address), vault=Reach(NOWHERE), sidecar=Sidecar(driver="podman"))
        assert codes(session, "contract") == {"D205", "D207", "D210", "D211"}
        assert codes(session, "podman") == {"D204"}
        node = nomad.client().ready_nodes()[0].id
        nomad.http("POST", f"/v1/node/{node}/eligibility", {"NodeID": node, "Eligibility": "ineligible"})
        assert "D203" in codes(session, "contract")


def test_a_cluster_without_nodes(authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("nobody")
    with nomad_with_tls(tmp_path, authority.file, authority.issue("alone")) as address:
        reach = Reach(address, ca_file=authority.file, client_cert=own.certificate, client_key=own.key)
        session = patient(reach)
        eventually(session.nomad.leader)
        assert codes(session, "nomad") == {"D201"}


def test_a_node_whose_consul_has_no_mesh(tmp_path: Path) -> None:
    for name in ("n", "c"):
        (tmp_path / name).mkdir()
    config = {"ports": {"grpc": -1}, "connect": {"enabled": False}}
    with consul_process(tmp_path / "c", config=config) as consul:
        settings = {"consul": {"address": consul.address.removeprefix("http://")}}
        with nomad_agent(tmp_path / "n", settings) as nomad:
            session = patient(Reach(nomad.address), Reach(consul.address))
            assert {"D208", "D209"} <= codes(session, "contract")
            assert codes(session, "consul") == {"D301"}
