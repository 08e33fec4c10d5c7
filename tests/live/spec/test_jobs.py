"""Jobs run to their end, once or by a schedule; they call services by name from a chroot, and leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.workflows.operating.runs import runs
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.waiting import eventually

_SERVICE = """
import http.server, os

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = 200 if self.path == "/health" else 418
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec of some fields."""

    def written(name: str, **fields: Any) -> Path:
        path = tmp_path / f"{name}.hms.json"
        path.write_text(json.dumps({"name": name, "version": "1.0.0", **fields}), encoding="utf-8")
        return path

    return written


def outcomes(cli: Cli, name: str) -> list[str]:
    """How the remembered deploys ended, newest first."""
    return [one["outcome"] for one in json.loads(cli("history", name, "-o", "json").stdout)["releases"]]


def test_a_job_runs_once_and_is_followed_to_its_end(cli: Cli, write, service: str):
    spec = write(service, kind="job", command=["python3", "-c", "print('counted')"])
    first = cli("deploy", spec)
    assert first.exit_code == 0, first.stderr
    assert f"{service} 1.0.0 ran to its end" in first.stdout
    assert "counted" in cli("logs", service).stdout
    assert cli("plan", spec).exit_code == 0
    assert "has run already" in cli("deploy", spec).stdout
    assert outcomes(cli, service) == ["succeeded"]
    assert cli("drift", service).exit_code == 0
    assert "ran to its end" in cli("deploy", spec, "--force").stdout
    assert "ended" in cli("status", service).stdout
    assert cli("deploy", spec, "--bg").exit_code == 2


def test_a_job_that_fails_says_why_and_runs_again_at_the_next_deploy(cli: Cli, write, service: str):
    spec = write(service, kind="job", command=["python3", "-c", "raise SystemExit('no ledger')"])
    for _ in range(2):
        failed = cli("deploy", spec)
        assert failed.exit_code == 5
        assert "no ledger" in failed.stderr
    assert outcomes(cli, service) == ["failed", "failed"]
    assert "1 clean" in cli("drift", service).stdout
    assert "failed" in cli("status", service).stdout


def test_a_schedule_starts_runs_that_end_with_it(cli: Cli, write, service: str, session: Session, stack: LiveStack):
    spec = write(
        service,
        kind="job",
        command=["python3", "-c", "print('tick')"],
        schedule={"cron": "0 3 1 1 *"},
        owner="tax-team",
    )
    first = cli("deploy", spec)
    assert first.exit_code == 0, first.stderr
    assert "scheduled" in first.stdout
    assert "has not run yet" in cli("logs", service).stderr
    assert cli("plan", spec).exit_code == 0
    assert "0 3 1 1 * UTC" in cli("status", service).stdout
    _asked(stack, "PUT", f"/v1/job/{service}/periodic/force", {})
    (run,) = runs(session, service)
    answer = session.nomad.job_allocations(run.id)
    while not answer.value or not all(one.done for one in answer.value):
        answer = session.nomad.job_allocations(run.id, index=answer.index, wait=20)
    assert "tick" in cli("logs", service).stdout
    assert "complete" in cli("status", service).stdout
    listed = json.loads(cli("status", "--output", "json").stdout)["services"]
    assert [one["service"] for one in listed if one["service"].startswith(service)] == [service]
    assert cli("plan", spec).exit_code == 0
    edited = json.loads(json.dumps(session.nomad.read_job(service).body))
    edited["Periodic"]["Specs"] = ["0 4 1 1 *"]
    session.nomad.register_job(edited, edited["JobModifyIndex"])
    drifted = cli("drift", service)
    assert (drifted.exit_code, "Periodic.Specs" in drifted.stdout) == (1, True), drifted.stdout
    assert cli("deploy", spec).exit_code == 0
    assert cli("drift", service).exit_code == 0
    write(service, kind="job", command=["true"], version="2.0.0", schedule={"cron": "0 5 1 1 *"})
    assert cli("deploy", spec).exit_code == 0
    back = cli("rollback", service, "--yes")
    assert (back.exit_code, "1.0.0 scheduled" in back.stdout) == (0, True), back.stderr
    assert "0 3 1 1 * UTC" in cli("status", service).stdout
    assert outcomes(cli, service) == ["succeeded"] * 4
    stopped = cli("stop", service, "--purge", "--yes")
    assert stopped.exit_code == 0, stopped.stderr
    assert session.nomad.list_jobs(prefix=service) == ()


@pytest.mark.real_nomad("a chroot")
def test_a_chroot_knows_services_by_name(cli: Cli, write, fresh_name, session: Session):
    called, caller = fresh_name("called"), fresh_name("caller")
    service = write(called, command=["python3", "-c", _SERVICE], port=3000, health={"path": "/health"})
    assert cli("deploy", service).exit_code == 0
    # The only program beside Envoy in the chroot of the test's stack asks an agent for its members over HTTP.
    job = write(
        caller,
        kind="job",
        command=["/usr/local/bin/consul", "members", f"-http-addr=http://{called}.mesh"],
        driver="exec",
        uses=[called],
        attempts={"most": 6, "delay": "1s"},
    )
    failed = cli("deploy", job, seconds=180)
    assert failed.exit_code == 5
    assert "418" in failed.stderr, failed.stderr
    assert "no such host" not in failed.stderr


@pytest.fixture
def host_volume(stack: LiveStack, service: str) -> Iterator[str]:
    """A volume that Nomad made on the stack's node, for several writers."""
    if not stack.status.docker:
        pytest.skip("no container engine answers on this machine")
    script = [sys.executable, str(Path(__file__).parents[3] / "scripts" / "example_images.py")]
    subprocess.run(script, check=True, capture_output=True)
    modes = {"AccessMode": "single-node-multi-writer", "AttachmentMode": "file-system"}
    body = {"Volume": {"Name": f"vol-{service}", "PluginID": "mkdir", "RequestedCapabilities": [modes]}}
    volume = _asked(stack, "PUT", "/v1/volume/host/create", body)["Volume"]
    path = f"/v1/volume/host/{volume['ID']}"
    while volume["State"] != "ready":
        volume = _asked(stack, "GET", f"{path}?index={volume['ModifyIndex']}&wait=5s")
    yield f"vol-{service}"
    _asked(stack, "DELETE", f"{path}/delete")


@pytest.mark.real_nomad("volumes")
def test_a_volume_outlives_the_runs_that_write_to_it(cli: Cli, write, service: str, host_volume: str):
    count = (
        "import pathlib; tally = pathlib.Path('/data/tally')\n"
        "with tally.open('a') as runs: runs.write('x')\n"
        "print('runs', len(tally.read_text()))"
    )
    spec = write(
        service,
        kind="job",
        image="ghcr.io/gov/receipt:1.0",
        volumes={"data": {"source": host_volume, "path": "/data", "access": "single-node-multi-writer"}},
        nomad={"task": {"Config": {"entrypoint": ["python3", "-c", count]}}},
    )
    assert cli("deploy", spec).exit_code == 0
    assert cli("plan", spec).exit_code == 0
    assert cli("deploy", spec, "--force").exit_code == 0
    # What a container says comes to Nomad by way of the engine, in its own time.
    assert eventually(lambda: "runs 2" in cli("logs", service).stdout)
    assert cli("stop", service, "--purge", "--yes").exit_code == 0


def _asked(stack: LiveStack, method: str, path: str, body: Any = None) -> Any:
    """Ask the stack's Nomad past our client."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(stack.platform.nomad.address + path, data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")
