"""Rollouts that the cluster drives where every server denies by default: by the job's own identity and nothing else."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.live.secure.conftest import SecureStack
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(600), pytest.mark.real_nomad("access lists and TLS")]

SERVICE = "rolled"
JOB = "hms-rollouts"
PROGRAM = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["APP_VERSION"].encode())
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
OPEN = {"path": "/open", "public": True}


@pytest.fixture
def clients(secure: SecureStack) -> Iterator[Session]:
    with secure.as_admin() as session:
        yield session


@pytest.fixture
def outside(secure: SecureStack, secure_cli: Cli) -> Iterator[str]:
    """The gateway's URL, with the job that drives rollouts beside it; both are gone at the end."""
    for kind in ("gateway", "rollouts"):
        installed = secure_cli("platform", "install", kind)
        assert installed.exit_code == 0, installed.stderr
    yield json.loads(secure_cli("gateway", "status", "--output", "json").stdout)["gateway"]["url"]
    assert secure_cli("stop", SERVICE, "--purge", "--yes").exit_code == 0
    for kind in ("rollouts", "gateway"):
        assert secure_cli("platform", "remove", kind, "--force").exit_code == 0


@pytest.fixture
def release(tmp_path: Path) -> Callable[..., Path]:
    """Writes the file of one release of the service."""

    def make(number: int, *more: dict[str, Any]) -> Path:
        body = {
            "name": SERVICE,
            "version": f"{number}.0.0",
            "command": ["python3", "local/app.py"],
            "files": {"app.py": {"content": PROGRAM}},
            "env": {"APP_VERSION": str(number)},
            "port": 3000,
            "health": {"path": "/health"},
            "routes": [OPEN, *more],
            "scaling": {"min": 1, "max": 1},
            "rollout": {"steps": [1, 100], "every": "300s", "drain": "1s", "min_healthy": "1s"},
        }
        file = tmp_path / f"{number}.hms.json"
        file.write_text(json.dumps(body), encoding="utf-8")
        return file

    return make


def _answer(url: str, *, asking: bool = False) -> str:
    """The version of the instance that answers, or the status of a refusal."""
    request = urllib.request.Request(url, headers={"X-HMS-Canary": "1"} if asking else {})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        with refused:
            return str(refused.code)


def _held(session: Session) -> None:
    """Wait until the rollout holds a step with all of its weight confirmed."""
    store = RolloutStore(session.consul, "default", SERVICE)
    eventually(lambda: store.journal().rollout, lambda now: now is not None and now.step_since is not None, 90)


def _driver() -> psutil.Process:
    """The process that drives the service's rollout."""

    def found() -> list[psutil.Process]:
        words = {one: one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])}
        return [one for one, line in words.items() if line[-4:-1] == ["drive", SERVICE, "--rollout"]]

    return eventually(found, bool, 30)[0]


def _tokens_are_its_own(secure: SecureStack, session: Session, environment: dict[str, str]) -> None:
    """What the process was given: tokens of its identity, which may not do what only managers may."""
    kept = {file.read_text(encoding="utf-8").strip() for file in secure.security.directory.iterdir()}
    assert not kept & set(environment.values())

    def own(address: str, variable: str) -> Connection:
        return Connection(address, token=environment[variable], ca_file=secure.security.ca_file)

    consul = ConsulClient(own(session.consul.address, "CONSUL_HTTP_TOKEN")).own_token()
    assert consul is not None
    assert (consul.policies, consul.roles) == ((), (f"hms-job-{JOB}",))
    nomad = NomadClient(own(session.nomad.address, "NOMAD_TOKEN"))
    assert nomad.read_job(SERVICE) is not None
    with pytest.raises(DeniedError):
        nomad.list_nodes()


def test_a_canary_goes_to_its_end_and_another_one_is_taken_back_by_the_identity_of_the_job(
    secure: SecureStack, secure_cli: Cli, clients: Session, outside: str, release: Callable[..., Path]
) -> None:
    assert secure_cli("deploy", release(1), "--yes").exit_code == 0
    new = {"path": "/new", "public": True}

    handed = secure_cli("deploy", release(2, new), "--yes", "--in-cluster", "--output", "json")
    assert handed.exit_code == 0, handed.stderr
    assert json.loads(handed.stdout)["services"][0]["driver"].startswith(f"{JOB}/dispatch-")
    _held(clients)
    _tokens_are_its_own(secure, clients, _driver().environ())
    assert _answer(f"{outside}/new", asking=True) == "2"
    assert secure_cli("promote", SERVICE, "--full", "--detach").exit_code == 0
    followed = secure_cli("watch", SERVICE, "--rollout", "2")
    assert followed.exit_code == 0, followed.stderr
    # The command that drives is not here to wait until every sidecar knows the new right.
    eventually(lambda: _answer(f"{outside}/new"), lambda found: found == "2", 30)

    assert secure_cli("deploy", release(3), "--yes", "--in-cluster").exit_code == 0
    _held(clients)
    assert _answer(f"{outside}/open", asking=True) == "3"
    assert secure_cli("abort", SERVICE, "--detach").exit_code == 0
    back = secure_cli("watch", SERVICE, "--rollout", "3")
    assert back.exit_code == 5, back.stderr
    assert {_answer(f"{outside}/open", asking=asking) for asking in (True, False)} == {"2"}
    told = json.loads(secure_cli("history", SERVICE, "--output", "json").stdout)["releases"]
    assert [(one["version"], one["outcome"]) for one in told[:2]] == [("3.0.0", "taken back"), ("2.0.0", "succeeded")]
    assert secure_cli("drift").exit_code == 0
