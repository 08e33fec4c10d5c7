"""Faults of services, of the platform's jobs, and what commands leave: planted on a stack that is sound before."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hms_nomad.apply.lock import Process
from hms_nomad.apply.run_journal import Run, RunJournal
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.dev.vault_server import open_vault
from hms_nomad.workflows.session import Session
from tests.live.conftest import LiveStack, run_cli
from tests.live.doctor.patients import codes
from tests.waiting import eventually

SPEC = """
name: sound-svc
version: 1.0.0
command: [sh, -c, 'exec python3 -m http.server "$PORT" --bind 127.0.0.1']
port: 3000
health: {path: /, interval: 2s, timeout: 1s}
scaling: {min: 1, max: 2}
"""


@pytest.fixture(scope="module")
def sound(clinic: LiveStack, ward: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service that runs well; answers its file."""
    file = tmp_path_factory.mktemp("spec") / "sound.hms.yml"
    file.write_text(SPEC, encoding="utf-8")
    done = run_cli(clinic, "deploy", file)
    assert done.exit_code == 0, done.stderr
    return file


def patient_job(name: str, driver: str, config: dict[str, Any], **task: Any) -> dict[str, Any]:
    """A job of ours with one task, which tries once."""
    body = {"Name": "app", "Driver": driver, "Config": config, "Resources": {"CPU": 20, "MemoryMB": 16}, **task}
    return {
        "ID": name,
        "Name": name,
        "Type": "service",
        "Datacenters": ["*"],
        "Meta": {OWNER_KEY: OWNER},
        "TaskGroups": [
            {
                "Name": "app",
                "Count": 1,
                "RestartPolicy": {"Attempts": 0, "Mode": "fail", "Interval": 5_000_000_000},
                "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
                "Services": [{"Name": name}],
                "Tasks": [body],
            }
        ],
    }


SHELL = {"command": "/bin/sh"}
MISSING_VARIABLE = '{{ with nomadVar "nomad/jobs/nobody" }}{{ .x }}{{ end }}'
AILING = {
    "D604": patient_job("ailing-image", "docker", {"image": "hms-nomad/is-not-there:1", "image_pull_timeout": "5s"}),
    "D605": patient_job("ailing-command", "exec", {"command": "/is/not/there"}),
    "D607": patient_job("ailing-place", "raw_exec", SHELL, Resources={"CPU": 9_000_000, "MemoryMB": 16}),
    "D610": patient_job(
        "ailing-secret",
        "raw_exec",
        SHELL,
        Templates=[{"EmbeddedTmpl": MISSING_VARIABLE, "DestPath": "local/x", "ChangeMode": "restart"}],
    ),
    "D615": patient_job("ailing-program", "raw_exec", {**SHELL, "args": ["-c", "exit 3"]}),
}


@pytest.mark.parametrize("code", AILING)
def test_services_that_do_not_run(code: str, ward: Session) -> None:
    job = AILING[code]
    name = job["ID"]
    if code == "D604" and not any("docker" in node.drivers for node in ward.nomad.ready_nodes()):
        pytest.skip("no container engine")
    ward.nomad.register_job(job, 0)
    try:
        assert eventually(lambda: codes(ward, name, service=name), lambda found: code in found, 90) == {code}
    finally:
        ward.nomad.stop_job(name, purge=True)


def test_nothing_is_said_of_a_sound_platform(sound: Path, ward: Session, clinic: LiveStack) -> None:
    platform = replace_autoscaler(ward)
    assert eventually(lambda: codes(platform), lambda found: not found, 30) == set()
    done = run_cli(clinic, "doctor", "--service", "sound-svc", "--output", "json")
    body = json.loads(done.stdout)
    # It is to be scaled, and nobody does that here.
    assert [one["code"] for one in body["findings"]] == ["D503"]
    assert done.exit_code == 1


def test_what_was_changed_by_hand_and_what_was_left(sound: Path, ward: Session, clinic: LiveStack) -> None:
    entry = ward.consul.read_entry("service-defaults", "sound-svc")
    assert entry is not None
    ward.consul.write_entry({**entry.body, "MaxInboundConnections": 7}, entry.modify_index)
    ward.consul.write_entry(
        {"Kind": "service-resolver", "Name": "gone-svc", "Meta": {OWNER_KEY: OWNER}, "DefaultSubset": ""}, 0
    )
    dead = Process(boot="another boot", space="", pid=1, started="")
    run = Run(
        "1" * 32, "sound-svc", "default", "deploy", "jane", "", dead, str(uuid.uuid4()), 1.0, done=("job registered",)
    )
    RunJournal(ward.consul, "default", "sound-svc").write(run, 0)
    try:
        assert codes(ward, "sound-svc") == {"D701", "D704"}
        assert codes(ward, "gone-svc") == {"D703"}
    finally:
        orphan = ward.consul.read_entry("service-resolver", "gone-svc")
        assert orphan is not None
        ward.consul.delete_entry("service-resolver", "gone-svc", orphan.modify_index)
        assert run_cli(clinic, "deploy", sound).exit_code == 0
    assert codes(ward, "sound-svc") == set()


def test_jobs_of_the_platform(sound: Path, ward: Session) -> None:
    assert codes(ward, "autoscaler") == {"D503"}
    stranger = patient_job("hms-gateway", "raw_exec", {**SHELL, "args": ["-c", "sleep 600"]})
    ward.nomad.register_job({**stranger, "Meta": {}}, 0)
    try:
        assert codes(ward, "hms-gateway") == {"D505"}
        ours = ward.nomad.read_job("hms-gateway")
        assert ours is not None
        ward.nomad.register_job(stranger, ours.modify_index)
        assert codes(ward, "hms-gateway") == {"D502"}
    finally:
        ward.nomad.stop_job("hms-gateway", purge=True)


def test_public_routes_without_a_gateway(ward: Session) -> None:
    parents = [{"Kind": "api-gateway", "Name": "hms-gateway", "SectionName": "http"}]
    ward.consul.write_entry({"Kind": "http-route", "Name": "public-svc", "Parents": parents, "Rules": []}, 0)
    try:
        assert codes(ward, "gateway") == {"D504"}
    finally:
        route = ward.consul.read_entry("http-route", "public-svc")
        assert route is not None
        ward.consul.delete_entry("http-route", "public-svc", route.modify_index)


def test_a_sealed_vault_stops_the_authority_too(ward: Session, clinic: LiveStack) -> None:
    if ward.vault is None:
        pytest.skip("no Vault")
    directory = clinic.settings.state_dir / "vault"
    ward.vault.write("sys/seal", {})
    try:
        assert codes(ward, "vault") == {"D112"}
        assert codes(ward, "consul") == {"D308"}
    finally:
        open_vault(ward.vault.address, directory)
    assert eventually(lambda: codes(ward, "vault"), lambda found: not found) == set()


def replace_autoscaler(ward: Session) -> Session:
    """The session of a platform that scales nothing by itself."""
    return replace(ward, platform=ward.platform.changed(autoscaler=None))
