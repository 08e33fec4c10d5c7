"""A stack with access lists and TLS: every server refuses strangers, and services work for whoever has rights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from msgspec import structs

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError, UnavailableError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.vault import VaultClient
from hms_nomad.dev import stack as dev
from hms_nomad.dev.authority import ensure_authority
from tests.live.conftest import Cli, own_contexts
from tests.live.secure.conftest import SecureStack
from tests.live.stack.server import SERVER

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]

CALLEE = """
name: {name}
version: 1.0.0
command: [python3, local/app.py]
files: {{app.py: {{source: app.py}}}}
port: 3000
routes: [{{path: /, match: prefix}}]
health: {{path: /health}}
{more}
"""


def _deploy(cli: Cli, folder: Path, name: str, more: str = "") -> None:
    (folder / "app.py").write_text(SERVER, encoding="utf-8")
    file = folder / f"{name}.hms.yml"
    file.write_text(CALLEE.format(name=name, more=more), encoding="utf-8")
    done = cli("deploy", file, "--yes")
    assert done.exit_code == 0, done.stderr


def test_each_server_refuses_another_authority_another_name_and_no_token(secure: SecureStack, tmp_path: Path) -> None:
    other = str(ensure_authority(tmp_path, {}).ca_file)
    servers = {one.name: Connection(one.address, retry_seconds=0.0) for one in secure.stack.status.servers}
    calls = {
        "consul": lambda where: ConsulClient(where).leader(),
        "nomad": lambda where: NomadClient(where).leader(),
        "vault": lambda where: VaultClient(where).health(),
    }
    for name, where in servers.items():
        trusted = replace(where, ca_file=secure.security.ca_file)
        assert calls[name](trusted)
        for wrong in (replace(where, ca_file=other), replace(trusted, tls_server_name="other.example")):
            with pytest.raises(UnavailableError, match="not trusted"):
                calls[name](wrong)
    trusted = {name: replace(where, ca_file=secure.security.ca_file) for name, where in servers.items()}
    with pytest.raises(DeniedError):
        NomadClient(trusted["nomad"]).list_nodes()
    with pytest.raises(DeniedError):
        ConsulClient(trusted["consul"]).agent()
    with pytest.raises(DeniedError):
        VaultClient(trusted["vault"]).read("sys/mounts")


def test_services_log_in_as_themselves_and_call_each_other_through_the_mesh(
    secure: SecureStack, secure_cli: Cli, tmp_path: Path
) -> None:
    _deploy(secure_cli, tmp_path, "callee")
    _deploy(secure_cli, tmp_path, "caller", "uses: [callee]")

    answered = secure_cli("call", "GET", "http://callee.mesh/", "--as", "caller")
    assert answered.exit_code == 0, answered.stderr
    assert secure_cli("doctor").exit_code == 0
    assert secure_cli("drift").exit_code == 0
    with secure.as_admin() as session:
        own = session.consul.read_acl("auth-method", "nomad-workloads")
        assert own is not None
    for name in ("caller", "callee"):
        assert secure_cli("stop", name, "--purge", "--yes").exit_code == 0


def test_no_secret_of_the_stack_is_an_argument_of_a_process_or_in_what_is_remembered(secure: SecureStack) -> None:
    secrets = [file.read_text(encoding="utf-8").strip() for file in secure.security.directory.iterdir()]
    told = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    told += [(secure.stack.settings.state_dir / "stack.json").read_text(encoding="utf-8")]
    told += [file.read_text(encoding="utf-8") for file in (secure.stack.config_dir / "contexts").iterdir()]

    assert len(secrets) >= 8
    assert not [secret for secret in secrets for text in told if secret in text]
    state = secure.stack.settings.state_dir
    loose = [file for file in (*(state / "tokens").iterdir(), *(state / "tls").iterdir()) if file.stat().st_mode & 0o77]
    assert not loose


def test_up_again_changes_nothing_and_a_secure_stack_stays_one(secure: SecureStack) -> None:
    with own_contexts(secure.stack.config_dir):
        again = dev.up(structs.replace(secure.stack.settings, secure=False), lambda event: None)

    assert not again.changed
    assert again.secure


def test_the_foundation_is_laid_once_mended_where_it_differs_and_taken_up_without_what_is_others(
    secure: SecureStack, secure_cli: Cli
) -> None:
    admin = ("--context", secure.admin, "--output", "json")
    assert secure_cli("bootstrap", "--plan", *admin).exit_code == 0
    assert secure_cli("bootstrap", "--plan").exit_code == 8

    with secure.as_admin() as session:
        viewer = session.consul.read_acl("policy", "hms-viewer")
        assert viewer is not None
        session.consul.write_acl("policy", {**viewer.body, "Rules": 'operator = "write"'}, viewer.id)
        session.consul.write_acl("policy", {"Name": "others", "Rules": ""})
    planned = secure_cli("bootstrap", "--plan", *admin)
    assert planned.exit_code == 1
    changing = [one for one in json.loads(planned.stdout)["objects"] if one["action"] != "keep"]
    assert [(one["kind"], one["name"], one["action"]) for one in changing] == [
        ("consul policy", "hms-viewer", "update")
    ]
    assert secure_cli("bootstrap", "--apply", "--yes", *admin).exit_code == 0
    again = secure_cli("bootstrap", "--apply", "--yes", *admin)
    assert (again.exit_code, json.loads(again.stdout)["changed"]) == (0, False)

    with secure.as_admin() as session:
        assert session.vault is not None
        session.vault.kv_write("secret", "kept", {"a": "b"}, version=0)
    undone = secure_cli("bootstrap", "--undo", "--yes", *admin)
    assert undone.exit_code == 0, undone.stderr
    kept = [(one["name"], one["left"]) for one in json.loads(undone.stdout)["objects"] if one["action"] == "keep"]
    assert kept == [("secret", "it holds secrets")]
    with secure.as_admin() as session:
        assert session.vault is not None
        assert session.consul.read_acl("policy", "others") is not None
        assert session.consul.read_acl("policy", "hms-viewer") is None
        assert session.consul.read_acl("auth-method", "nomad-workloads") is None
        assert session.nomad.read_acl_policy("hms-deployer") is None
        assert "pki/" not in (session.vault.read("sys/mounts") or {})
        assert session.consul.ca_configuration().provider == "consul"
        session.vault.delete("secret/metadata/kept")
    assert secure_cli("bootstrap", "--apply", "--yes", *admin).exit_code == 0


def test_an_object_of_others_that_is_in_the_way_is_named_and_nothing_is_written(
    secure: SecureStack, secure_cli: Cli
) -> None:
    admin = ("--context", secure.admin)
    with secure.as_admin() as session:
        assert session.vault is not None
        text = session.vault.read_policy("hms-viewer")
        session.vault.write_policy("hms-viewer", 'path "secret/*" { capabilities = ["read"] }')
    refused = secure_cli("bootstrap", "--apply", "--yes", *admin)
    assert refused.exit_code == 3
    assert "vault policy 'hms-viewer'" in refused.stderr
    with secure.as_admin() as session:
        assert session.vault is not None
        session.vault.write_policy("hms-viewer", str(text))
    assert secure_cli("bootstrap", "--plan", *admin).exit_code == 0
