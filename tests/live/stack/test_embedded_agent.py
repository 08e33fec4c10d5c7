"""The main job and every way of rolling out on the embedded agent: real Consul, real Envoy, and no Nomad."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hms_nomad.dev import stack as dev
from hms_nomad.dev.engine import allocation_containers, find_engine
from hms_nomad.dev.state import load
from hms_nomad.platform.context import load_platform, save_context
from hms_nomad.workflows.session import open_session
from tests.live.conftest import Cli, LiveStack, own_contexts, run_cli, running_stack
from tests.live.stack.server import SERVER

pytestmark = pytest.mark.timeout(600)
_ROOT = Path(__file__).parents[3]
_EXAMPLES = _ROOT / "examples"
_PROGRAM = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["VERSION"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
if os.environ["VERSION"] == "broken":
    raise SystemExit("it cannot go on")
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"""
Deploy = Callable[..., int]


@pytest.fixture(scope="module")
def embedded() -> Iterator[LiveStack]:
    """A stack whose Nomad is our own agent."""
    with running_stack("embedded", nomad="embedded") as running:
        yield running


@pytest.fixture(scope="module")
def run(embedded: LiveStack) -> Cli:
    """Runs the program against it."""
    return functools.partial(run_cli, embedded)


@pytest.fixture
def deploy(run: Cli, tmp_path: Path) -> Deploy:
    """Deploys a version of the service "answer", which says its version to whoever calls."""

    def deployed(version: str, *words: str) -> int:
        spec = {
            "name": "answer",
            "version": "1.0.0",
            "command": ["python3", "-c", _PROGRAM],
            "env": {"VERSION": version},
            "port": 3000,
            "routes": [{"path": "/"}],
            "health": {"path": "/", "interval": "2s"},
            "scaling": {"min": 2, "max": 4},
            "allow": ["tester"],
            "rollout": {"every": "1s", "drain": "1s", "keep": "0s", "min_healthy": "1s", "deadline": "30s"},
        }
        file = tmp_path / "answer.hms.yml"
        file.write_text(json.dumps(spec), encoding="utf-8")
        return run("deploy", file, *words, seconds=200).exit_code

    return deployed


def _said(run: Cli) -> str:
    return run("call", "GET", "http://answer.mesh/", "--as", "tester").stdout.strip()


@pytest.mark.parametrize("kind", ["processes", "containers"])
def test_payment_calls_receipt_through_the_mesh(kind: str, embedded: LiveStack, run: Cli):
    assert embedded.status.nomad == "embedded"
    files = ("receipt/receipt-process.hms.yml", "payment/payment-process.hms.yml")
    if kind == "containers":
        if not embedded.status.docker:
            pytest.skip("no container engine answers on this machine")
        files = ("receipt/receipt.hms.yml", "payment/payment.hms.yml")
        script = [sys.executable, str(_ROOT / "scripts" / "example_images.py"), "receipt", "payment"]
        subprocess.run(script, check=True, capture_output=True)
    deployed = run("deploy", _EXAMPLES / files[0])
    assert deployed.exit_code == 0, deployed.stderr
    assert "this is the embedded agent" in deployed.stderr
    deployed = run("deploy", _EXAMPLES / files[1])
    assert deployed.exit_code == 0, deployed.stderr
    called = run("call", "POST", "http://payment-svc.mesh/charge", "--as", "tax-portal", "--data", '{"email": "a@b"}')
    assert called.exit_code == 0, called.stderr
    assert json.loads(called.stdout)["receipt"]["caller"].endswith("/svc/payment-svc")
    for name in ("payment-svc", "receipt-svc"):
        assert run("stop", name, "--purge", "--yes").exit_code == 0


def test_a_canary_a_blue_green_deploy_and_a_release_that_is_taken_back(run: Cli, deploy: Deploy):
    assert deploy("one") == 0
    assert _said(run) == "one"
    assert deploy("two", "--strategy", "canary") == 0
    assert _said(run) == "two"
    assert deploy("three", "--bg") == 0
    assert _said(run) == "three"
    assert deploy("broken") != 0
    assert _said(run) == "three"


def test_a_production_context_refuses_the_agent(embedded: LiveStack, run: Cli):
    with own_contexts(embedded.config_dir):
        platform = load_platform(embedded.settings.name)
        save_context(platform.changed(name="earnest", development=False))
    file = _EXAMPLES / "receipt" / "receipt-process.hms.yml"
    refused = run("deploy", file, "--context", "earnest")
    assert refused.exit_code != 0
    assert "embedded agent" in refused.stderr
    with own_contexts(embedded.config_dir), open_session(platform) as session:
        assert session.nomad.read_job("receipt-svc") is None


def test_down_leaves_nothing_of_an_agent_that_was_killed(image: str | None, tmp_path: Path):
    with running_stack("embedded-gone", nomad="embedded") as running:
        kinds = {"process": {"command": ["python3", "-c", SERVER]}, "container": {"image": image}}
        if not running.status.docker:
            del kinds["container"]
        for name, kind in kinds.items():
            spec = {"name": name, "version": "1.0.0", "port": 3000, "health": {"path": "/", "interval": "2s"}, **kind}
            file = tmp_path / f"{name}.hms.yml"
            file.write_text(json.dumps(spec), encoding="utf-8")
            done = run_cli(running, "deploy", file)
            assert done.exit_code == 0, done.stderr
        allocations = {path.name for path in (running.settings.state_dir / "nomad" / "data" / "alloc").iterdir()}
        assert _traces(allocations)
        record = load(running.settings.state_dir)
        assert record is not None
        os.kill(record.servers["nomad"].process.pid, signal.SIGKILL)
        with own_contexts(running.config_dir):
            result = dev.down(running.settings, lambda event: None)

        assert (result.changed, result.leftovers) == (True, ())
        assert _traces(allocations) == []
        assert not running.settings.state_dir.exists()


def _traces(allocations: set[str]) -> list[str]:
    """The containers and processes of allocations."""
    engine = find_engine()
    found = [
        f"container {one.name}"
        for one in (allocation_containers(engine) if engine else ())
        if one.allocation in allocations
    ]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("NOMAD_ALLOC_ID") in allocations:
                found.append(f"process {process.pid}")
    return found
