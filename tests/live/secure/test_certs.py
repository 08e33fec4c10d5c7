"""Certificates of a secure stack: shown and checked as they are, issued, and made anew under load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hms_nomad.clients.certificates import read_pem
from hms_nomad.workflows.certs.overview import active_root
from tests.live.conftest import Cli
from tests.live.secure.conftest import SecureStack
from tests.live.stack.server import SERVER

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists and TLS")]

SPEC = """
name: certified
version: 1.0.0
command: [python3, local/app.py]
files: {app.py: {source: app.py}}
port: 3000
routes: [{path: /, match: prefix}]
allow: [tester]
health: {path: /health}
rollout: {strategy: rolling, min_healthy: 1s, drain: 1s}
"""


@pytest.fixture(scope="module", autouse=True)
def certified(secure_cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A service whose certificates the tests look at."""
    folder = tmp_path_factory.mktemp("certified")
    (folder / "app.py").write_text(SERVER, encoding="utf-8")
    (folder / "certified.hms.yml").write_text(SPEC, encoding="utf-8")
    done = secure_cli("deploy", folder / "certified.hms.yml", "--yes")
    assert done.exit_code == 0, done.stderr


def test_what_servers_and_sidecars_really_show_is_listed_and_found_good(secure: SecureStack, secure_cli: Cli) -> None:
    shown = secure_cli("certs", "verify", "--output", "json")
    assert shown.exit_code == 0, shown.stdout
    body = json.loads(shown.stdout)
    assert (body["provider"], body["problems"]) == ("vault", [])
    held = {(one["use"], one["kind"]) for one in body["held"] if one["active"]}
    assert held >= {
        ("mesh", "root"),
        ("mesh", "intermediate"),
        ("applications", "root"),
        ("applications", "intermediate"),
        ("nomad", "server"),
        ("consul", "server"),
        ("vault", "server"),
    }
    (leaf,) = [one for one in body["leaves"] if one["service"] == "certified"]
    assert leaf["identity"].endswith("/svc/certified")
    assert leaf["issued"] < leaf["renewal"] < leaf["renewal_until"] < leaf["expires"]
    assert leaf["current"] is True
    with secure.as_admin() as session:
        root = active_root(session.consul.ca_roots())
        assert root is not None
        assert leaf["signer"] == root.signing_key_id

    text = secure_cli("certs", "status", "certified")
    assert text.exit_code == 0, text.stderr
    assert "intermediate" in text.stdout


def test_a_certificate_is_issued_into_private_files(secure: SecureStack, secure_cli: Cli, tmp_path: Path) -> None:
    issued = secure_cli("certs", "issue", "certified", "--out", tmp_path / "mesh")
    assert issued.exit_code == 0, issued.stderr
    files = {file.name: file for file in (tmp_path / "mesh").iterdir()}
    assert {name: file.stat().st_mode & 0o777 for name, file in files.items()} == {
        "certificate.pem": 0o600,
        "key.pem": 0o600,
        "ca.pem": 0o600,
    }
    leaf, *_ = read_pem(files["certificate.pem"].read_text())
    assert any(name.endswith("/svc/certified") for name in leaf.names)
    assert "PRIVATE KEY" not in issued.stdout + issued.stderr
    assert secure_cli("certs", "issue", "certified", "--out", tmp_path / "mesh").exit_code == 2

    with secure.as_admin() as session:
        assert session.vault is not None
        session.vault.write("pki/roles/staff", {"allowed_domains": "agency.gov", "allow_subdomains": True})
    asked = ("certs", "issue", "files.agency.gov", "--pki", "staff", "--ttl", "2h")
    assert secure_cli(*asked, "--out", tmp_path / "denied").exit_code == 8
    assert not (tmp_path / "denied").exists()
    made = secure_cli(*asked, "--context", secure.admin, "--out", tmp_path / "host")
    assert made.exit_code == 0, made.stderr
    host, between = read_pem((tmp_path / "host" / "certificate.pem").read_text())
    assert host.names == ("files.agency.gov",)
    assert host.signed_by(between)
    assert between.signed_by(read_pem((tmp_path / "host" / "ca.pem").read_text())[-1])


def test_a_root_made_anew_under_load_costs_no_request(secure: SecureStack, secure_cli: Cli) -> None:
    with secure.as_admin() as session:
        before = active_root(session.consul.ca_roots())
    assert before is not None
    assert secure_cli("certs", "rotate", "root").exit_code == 8
    asked = (
        "load",
        "certified/hello",
        "--as",
        "tester",
        "--rate",
        "200",
        "--for",
        "5m",
        "--timeout",
        "60s",
        "--output",
        "json",
        "--quiet",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "hms_nomad", *asked],
        env=secure.stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as load:
        done = secure_cli(
            "certs", "rotate", "root", "--yes", "--context", secure.admin, "--output", "json", seconds=330
        )
        load.send_signal(signal.SIGINT)
        counted, why = load.communicate(timeout=90)
    assert done.exit_code == 0, done.stderr
    result = json.loads(counted)["load"]
    assert (load.returncode, result["failed"]) == (0, 0), (counted, why)
    assert result["requests"] > 200
    assert result["statuses"] == {"200": result["requests"]}

    with secure.as_admin() as session:
        roots = session.consul.ca_roots()
        assert before.id in {one.id for one in roots}
        after = active_root(roots)
        assert session.vault is not None
        assert "sign-self-issued" not in str(session.vault.read_policy("hms-connect-ca"))
    assert after is not None
    assert after.id != before.id
    rotation = json.loads(done.stdout)["rotation"]
    assert rotation["signing_key_id"] == after.signing_key_id
    assert rotation["leaves"] >= 1
    assert secure_cli("certs", "verify").exit_code == 0
    assert secure_cli("bootstrap", "--plan", "--context", secure.admin).exit_code == 0
