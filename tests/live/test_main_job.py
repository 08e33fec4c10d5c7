"""The main job: the chapter's file, exactly as it prints it, becomes two instances that others call by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hms_nomad.clients.errors import DeadlineExceededError
from hms_nomad.clients.nomad_types import Port
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "examples"
_RECEIPT = _EXAMPLES / "receipt" / "receipt.hms.yml"
_CHAPTERS_FILE = """\
# receipt.hms.yml
name: receipt-svc
version: 1.0.0
image: ghcr.io/gov/receipt:1.0
port: 3000
routes:
  - path: /receipt
    methods: [POST]
scaling:
  min: 2        # keep two pods alive
  max: 10
"""
_CHAPTERS_ANSWER = """\
✓ Image pulled
✓ Registered in service mesh
✓ Auto-scaler set (2-10)
Service URL: http://receipt-svc.mesh/receipt
"""
_CALLER = """
import http.server, os, urllib.request

class Caller(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = os.environ["HMS_RECEIPT_SVC_URL"] + "/receipt"
        status, body = 200, b"ok"
        if self.path == "/call":
            try:
                with urllib.request.urlopen(urllib.request.Request(url, b'{"email": "a@b"}'), timeout=20) as answer:
                    body = answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Caller).serve_forever()
"""


@pytest.fixture(scope="module", params=["container", "process"])
def receipt(request: pytest.FixtureRequest, stack: LiveStack, cli: Cli) -> Iterator[str]:
    """The receipt service, deployed as the container of the chapter's file, then as a process of this machine."""
    if request.param == "container" and not stack.status.docker:
        pytest.skip("no container engine answers on this machine")
    file = _RECEIPT
    if request.param == "container":
        script = [sys.executable, str(_ROOT / "scripts" / "example_images.py")]
        subprocess.run(script, check=True, capture_output=True)
    else:
        file = _RECEIPT.with_name("receipt-process.hms.yml")
    ran = cli("deploy", file)
    assert ran.exit_code == 0, ran.stderr
    yield str(file)
    cli("stop", "receipt-svc", "--purge", "--yes")


@pytest.fixture
def caller(cli: Cli, session: Session, service: str, tmp_path: Path, receipt: str) -> Iterator[Port]:
    """A second service that uses the receipt service; the address at which it can be told to call, at /call."""
    spec = {
        "name": service,
        "version": "1.0.0",
        "command": ["python3", "-c", _CALLER],
        "port": 3000,
        "uses": ["receipt-svc"],
        "health": {"path": "/call", "interval": "2s"},
    }
    file = tmp_path / f"{service}.hms.yml"
    file.write_text(json.dumps(spec), encoding="utf-8")
    ran = cli("deploy", file)
    assert ran.exit_code == 0, ran.stderr
    allocation = session.nomad.job_allocations(service).value[0]
    yield session.nomad.read_allocation(allocation.id).ports["health"]
    cli("stop", service, "--purge", "--yes")


def test_the_example_is_the_chapters_file():
    assert _RECEIPT.read_text(encoding="utf-8") == _CHAPTERS_FILE


def test_the_second_deploy_of_the_same_file_changes_nothing(cli: Cli, session: Session, receipt: str):
    before = session.nomad.read_job("receipt-svc")
    ran = cli("deploy", receipt, "--output", "json")
    after = session.nomad.read_job("receipt-svc")
    assert ran.exit_code == 0, ran.stderr
    assert json.loads(ran.stdout)["changed"] is False
    assert before is not None
    assert after is not None
    assert (before.version, before.modify_index) == (after.version, after.modify_index)
    assert cli("plan", receipt).exit_code == 0


def test_deploy_prints_what_the_chapter_prints(cli: Cli, stack: LiveStack, receipt: str):
    cli("stop", "receipt-svc", "--purge", "--yes")
    ran = cli("deploy", receipt)
    started = (
        _CHAPTERS_ANSWER if "process" not in receipt else _CHAPTERS_ANSWER.replace("Image pulled", "Command started")
    )
    assert (ran.exit_code, ran.stdout) == (0, started), ran.stderr


def test_the_registry_tells_version_url_and_healthy_instances(cli: Cli, receipt: str):
    found = json.loads(cli("registry", "lookup", "receipt-svc", "--output", "json").stdout)
    text = json.dumps(found)
    assert "http://receipt-svc.mesh/receipt" in text
    assert '"1.0.0"' in text
    shown = cli("registry", "lookup", "receipt-svc").stdout
    assert "http://receipt-svc.mesh/receipt" in shown
    assert "1.0.0" in shown


def test_the_callee_learns_the_identity_of_its_caller_from_the_mesh(cli: Cli, service: str, caller: Port):
    body = json.loads(_get(caller, "/call"))
    assert body["ok"] is True
    assert body["caller"].startswith("spiffe://")
    assert body["caller"].endswith(f"/svc/{service}")
    lines = cli("logs", "receipt-svc", "--tail", "20").stdout.splitlines()
    assert any(f"Sent receipt to a@b for {body['caller']}" in line for line in lines)


def test_payment_calls_receipt_by_its_name_in_the_mesh(cli: Cli, stack: LiveStack, receipt: str):
    if "process" in receipt:
        file = _EXAMPLES / "payment" / "payment-process.hms.yml"
    else:
        file = _EXAMPLES / "payment" / "payment.hms.yml"
    ran = cli("deploy", file)
    assert ran.exit_code == 0, ran.stderr
    called = cli("call", "POST", "http://payment-svc.mesh/charge", "--as", "tax-portal", "--data", '{"email": "a@b"}')
    cli("stop", "payment-svc", "--purge", "--yes")
    assert called.exit_code == 0, called.stderr
    body = json.loads(called.stdout)
    assert body["charged"] is True
    assert body["receipt"]["caller"].endswith("/svc/payment-svc")


def test_a_killed_instance_fails_no_request_that_may_be_repeated_and_comes_back(
    session: Session, cli: Cli, caller: Port, receipt: str, tmp_path: Path
):
    folder = shutil.copytree(Path(receipt).parent, tmp_path / "receipt")
    spec = folder / Path(receipt).name
    # A POST that an instance may have carried out is repeated only where its owner says that this does no harm.
    spec.write_text(f"{spec.read_text()}mesh:\n  retry_methods: [POST]\n")
    ran = cli("deploy", spec)
    assert ran.exit_code == 0, ran.stderr
    victim = next(a for a in session.nomad.job_allocations("receipt-svc").value if not a.done)
    answers: Counter[str] = Counter()
    with ThreadPoolExecutor(4) as pool:
        pending = [pool.submit(_get, caller, "/call") for _ in range(500)]
        pending[100].result()
        session.nomad.signal_allocation(victim.id, "SIGKILL", "app")
        for call in pending:
            answers["ok" if json.loads(call.result())["ok"] else "failed"] += 1
    assert answers == {"ok": 500}
    _await_restart(session, victim.id)


def _await_restart(session: Session, alloc_id: str) -> None:
    """Until the task runs again, or has been replaced, within a minute."""
    deadline, index = time.monotonic() + 60, 0
    while time.monotonic() < deadline:
        answer = session.nomad.job_allocations("receipt-svc", index=index, wait=5)
        living = [a for a in answer.value if not a.done and a.tasks and a.tasks["app"].state == "running"]
        again = next((a for a in answer.value if a.id == alloc_id), None)
        if len(living) == 2 and again is not None and (again.done or again.tasks["app"].restarts > 0):
            return
        index = answer.index
    raise DeadlineExceededError("the killed instance did not come back within a minute")


def _get(port: Port, path: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://{port.host_ip}:{port.value}{path}", timeout=30) as answer:
        body: str = answer.read().decode()
        return body
