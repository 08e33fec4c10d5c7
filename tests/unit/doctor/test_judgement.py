"""What servers said -> codes; and the page explains each of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hms_nomad.clients.consul_types import CaRoot, ConsulAgent
from hms_nomad.clients.nomad_types import Node
from hms_nomad.dev import binaries
from hms_nomad.dev.binaries import Binary
from hms_nomad.dev.errors import UnsuitableMachineError
from hms_nomad.dev.settings import StackSettings
from hms_nomad.doctor import machine
from hms_nomad.doctor.finding import CODES, Section, SectionResult, finding
from hms_nomad.doctor.known_answers import decoded
from hms_nomad.doctor.mesh import MeshFacts, envoy_of, judge_mesh
from hms_nomad.doctor.nodes import NodeFacts, judge_nodes
from hms_nomad.doctor.servers import ServerFacts, judge_servers, seconds_until
from hms_nomad.doctor.work import (
    Left,
    PlatformFacts,
    PlatformJobFacts,
    ServiceFacts,
    TraceFacts,
    judge_platform,
    judge_services,
    judge_traces,
)
from hms_nomad.output.doctor import examination_lines
from hms_nomad.output.printer import Look, Printer
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Sidecar

ROOT = Path(__file__).parents[3]
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[critical] error initializing configuration "x": DataSource cannot be empty', "D602"),
        ("task connect-proxy-a: Task hook failed: envoy_bootstrap: error creating bootstrap configuration", "D601"),
        ('pre-run hook "network" failed: failed to configure network: plugin type="bridge" failed (add)', "D603"),
        ("for non dual stack setup ipv4 consulDNSIP required", "D612"),
        ("Driver Failure: Failed to pull `a/b:1`: manifest unknown", "D604"),
        ("Driver Failure: Failed to pull `a/b:1`: Get https://a/v2/b: no basic auth credentials", "D616"),
        ("Failed to pull `a/b@sha256:00`: unauthorized: authentication required", "D616"),
        ("Failed to pull `a/b:1`: pull access denied for a/b, repository does not exist", "D604"),
        ('rpc error: exec: "python9": executable file not found in $PATH', "D605"),
        ("task app: Terminated: Exit Code: 137, Signal: 9, OOM Killed", "D606"),
        ("app: memory is exhausted on 1 node (of 1 node looked at)", "D607"),
        ("1 node fail constraint: missing drivers (of 1 node looked at)", "D607"),
        ("consul: ACL login failed: auth method nomad-workloads not found", "D608"),
        ("Template: vault: failed to derive token: permission denied", "D609"),
        ("task app: Template: Missing: vault.read(secret/data/a)", "D610"),
        ("Envoy version 1.20.0 is not supported", "D611"),
        ("Driver Failure: Failed to start container x: permission denied", "D613"),
        ("check 'service: a' is critical: connection refused", "D614"),
        ("task app: Terminated: Exit Code: 3", "D615"),
        ("something that nobody has seen", "D600"),
    ],
)
def test_known_bad_answers_are_decoded(text, code):
    assert decoded(text) == code


def node(**changes) -> Node:
    attributes = {f"plugins.cni.version.{name}": "1" for name in ("bridge", "firewall", "host-local", "loopback")}
    attributes |= {"plugins.cni.version.portmap": "1", "consul.version": "1.20.1", "consul.connect": "true"}
    attributes |= {"consul.grpc": "8502", "nomad.version": "2.0.5", **changes.pop("attributes", {})}
    fields = {"status": "ready", "eligible": True, "drivers": frozenset({"docker"}), **changes}
    return Node(
        id="1",
        name="n1",
        datacenter="dc1",
        attributes=attributes,
        node_pool="default",
        address="",
        networks=fields.pop("networks", frozenset({"host", "bridge"})),
        **fields,
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "down"}, "D202"),
        ({"draining": True}, "D203"),
        ({"networks": frozenset({"host"})}, "D206"),
        ({"attributes": {"consul.grpc": "-1"}}, "D208"),
        ({"attributes": {"nomad.version": "2.1.0"}}, "D212"),
    ],
)
def test_a_node_that_is_not_as_it_should_be(changes, code):
    sound = Node(**{**{f: getattr(node(), f) for f in Node.__struct_fields__}, "id": "2", "name": "n2"})
    found = judge_nodes(NodeFacts([node(**changes), sound], servers_version="2.0.5"), Platform(), {"docker"})
    assert [one.code for one in found.findings] == [code]


def test_a_sound_node_is_not_spoken_of():
    assert judge_nodes(NodeFacts([node()]), Platform(), {"docker"}).findings == ()


@pytest.mark.parametrize(("mark", "codes"), [({}, ["D205"]), ({"nomad.embedded": "true"}, [])])
def test_the_embedded_agent_makes_no_networks_and_needs_no_plugins_for_them(mark, codes):
    attributes = {"plugins.cni.version.bridge": "", **mark}
    found = judge_nodes(NodeFacts([node(attributes=attributes)]), Platform(), {"docker"})
    assert [one.code for one in found.findings] == codes


def mesh(**changes) -> MeshFacts:
    root = CaRoot("r", "root", True, "", "", "2030-01-01T00:00:00Z")
    agent = ConsulAgent("1.20.1", "dc1", "n1", ("1.31.2", "1.28.7"), 8502, 0, False)
    fields = {
        "agent": agent,
        "roots": [root],
        "intentions": (),
        "providers": (),
        "nomad": None,
        "signing": "",
        "dns": "",
        "envoy": "1.36.2",
        "now": NOW,
        **changes,
    }
    return MeshFacts(**fields)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"roots": [CaRoot("r", "root", True, "", "", "2026-01-01T00:00:00Z")]}, "D304"),
        ({"signing": "no"}, "D308"),
        ({"roots": []}, "D308"),
        ({"dns": "silent"}, "D310"),
        ({"envoy": "1.27.0"}, "D311"),
        ({"refusals": {"hms-egress": {"76df310a-1": "Invalid path: /nope"}}}, "D312"),
    ],
)
def test_a_mesh_that_is_not_as_it_should_be(changes, code):
    assert [one.code for one in judge_mesh(mesh(**changes)).findings] == [code]
    assert judge_mesh(mesh()).findings == ()


def test_the_envoy_of_an_image_is_known():
    assert envoy_of(Platform(sidecar=Sidecar(image="registry:5000/envoy:v1.31.2-x"))) == "1.31.2"
    assert envoy_of(Platform(sidecar=Sidecar(driver="exec"))) == ""


@pytest.mark.parametrize(
    ("server", "version", "codes"),
    [
        ("nomad", "2.0.5", []),
        ("nomad", "2.0.1", ["D119"]),
        ("nomad", "1.4.3", ["D114"]),
        ("consul", "1.20.1+ent", []),
        ("consul", "1.12.0", ["D114"]),
        ("vault", "1.10.0", ["D114"]),
        ("vault", "2.5.0", []),
    ],
)
def test_versions(server, version, codes):
    facts = ServerFacts(server, "http://x", leader=True, version=version)
    assert [one.code for one in judge_servers([facts], development=False).findings] == codes


def test_times_are_understood_as_servers_write_them():
    assert seconds_until("1970-01-01T00:01:00.123456789Z", 0.0) == 60.0
    assert seconds_until("1970-01-01T02:00:00+02:00", 0.0) == 0.0
    assert seconds_until("0001-01-01T00:00:00Z", 0.0) is None
    assert seconds_until("", 0.0) is None


def test_what_a_job_of_the_platform_said_tells_the_cause():
    said = "error initializing configuration: DataSource cannot be empty"
    job = PlatformJobFacts("gateway", "hms-gateway", "degraded", "0 of 1", said)
    assert [one.code for one in judge_platform(PlatformFacts([job])).findings] == ["D602"]
    plain = PlatformJobFacts("gateway", "hms-gateway", "degraded", "0 of 1")
    assert [one.code for one in judge_platform(PlatformFacts([plain], public=["a"])).findings] == ["D501"]


def test_one_cause_is_told_once_and_hides_what_follows_from_it():
    complaints = ["task a: Terminated: Exit Code: 1", "DataSource cannot be empty", "DataSource cannot be empty"]
    found = judge_services([ServiceFacts("a", "degraded", 0, 2, complaints), ServiceFacts("b", "healthy", 1, 1)])
    assert [(one.code, one.subject) for one in found.findings] == [("D602", "a")]
    nothing = judge_services([ServiceFacts("a", "degraded", 1, 2)])
    assert [one.code for one in nothing.findings] == ["D600"]


def test_what_commands_left_is_told_once_for_each_service():
    kinds = ("run", "lock", "rollout", "entry", "right")
    found = judge_traces(TraceFacts(tuple(Left(kind, "a", kind, "mend it") for kind in kinds)))
    assert [one.code for one in found.findings] == ["D701", "D702", "D705", "D703"]
    assert found.findings[-1].detail == "entry, right"


def test_this_machine_may_lack_things(monkeypatch, tmp_path):
    def refuse() -> None:
        raise UnsuitableMachineError("no root", "be root")

    monkeypatch.setattr(machine, "check_rights", refuse)
    monkeypatch.setattr(machine, "check_tools", refuse)
    monkeypatch.setattr(machine, "find_cni", refuse)
    monkeypatch.setattr(machine, "check_ports", lambda *_: refuse())
    monkeypatch.setattr(machine, "find_engine", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.examine_machine(StackSettings(state_dir=tmp_path, download=False))
    assert {"D001", "D002", "D004", "D005", "D006"} <= {one.code for one in found.findings}


def program(folder: Path, name: str, says: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    file.chmod(0o755)


def test_programs_that_are_missing_or_no_pair(monkeypatch, tmp_path):
    for check in ("check_rights", "check_tools", "find_cni", "find_engine"):
        monkeypatch.setattr(machine, check, lambda: "there")
    monkeypatch.setattr(machine, "check_ports", lambda *_: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = StackSettings(state_dir=tmp_path, download=False)
    missing = machine.examine_machine(settings)
    assert [one.code for one in missing.findings] == ["D003"]
    assert "consul" in missing.findings[0].subject
    for name, says in (("consul", "Consul v1.20.1"), ("nomad", "Nomad v2.0.5"), ("vault", "Vault v1.21.4")):
        program(tmp_path, name, says)
    old = Binary("envoy", tmp_path / "envoy", "1.20.0")
    monkeypatch.setattr(binaries, "_envoy", lambda: old)
    found = machine.examine_machine(settings).findings
    assert [(one.code, one.detail) for one in found] == [
        ("D007", "Envoy 1.20.0 with Consul 1.20.1, which needs 1.28.0 or newer")
    ]


def test_the_page_explains_each_code():
    spec = importlib.util.spec_from_file_location("doctor_docs", ROOT / "scripts" / "doctor_docs.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8") == script.page(), "run scripts/doctor_docs.py"
    assert all(f"| {code} |" in script.page() for code in CODES)


def test_lines_for_people(capsys):
    printer = Printer(Look())
    sections = [
        SectionResult(Section.SERVERS, 6, (finding("D101", "nomad", "no\nconnection"),)),
        SectionResult(Section.NODES, 0, not_run=("no nomad",)),
    ]
    assert list(examination_lines(printer, sections)) == [
        "✗ D101 nomad: no connection",
        "    start it, or mend the address: hms-nomad context show",
        "nodes: not looked at, no nomad",
        "6 checks: 1 error, 0 warnings; docs/doctor.md explains each code",
    ]
    assert list(examination_lines(printer, [SectionResult(Section.SERVERS, 6)])) == ["✓ 6 checks, nothing is wrong"]
