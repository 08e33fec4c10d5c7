"""The everyday commands as a user types them, on a stack of real servers: what they print, change, and leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.plan.diff import OWN_KINDS
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.workflows.session import Session
from tests.binaries import binary
from tests.contract.nomad_server import job
from tests.live.conftest import Cli, LiveStack

_SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/health":
            print("asked for " + self.path, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass

print("listening", flush=True)
print("nothing is wrong", file=sys.stderr, flush=True)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""
_CRASH = "import sys; print('the database is not configured', file=sys.stderr); sys.exit(3)"


def write_spec(folder: Path, name: str, program: str = _SERVER, **fields: Any) -> Path:
    """A file with a service that runs ``program``; JSON is YAML."""
    spec = {
        "name": name,
        "version": "1.0.0",
        "command": ["python3", "-c", program],
        "port": 3000,
        "routes": [{"path": "/receipt", "methods": ["POST"]}],
        "scaling": {"min": 2, "max": 10},
        "health": {"path": "/health", "interval": "2s"},
        "rollout": {"min_healthy": "1s", "drain": "1s"},
        **fields,
    }
    file = folder / f"{name}.hms.yml"
    file.write_text(json.dumps(spec, indent=1), encoding="utf-8")
    return file


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service that runs for this module, its file, and what its first deploy printed."""

    name: str
    file: Path
    first_output: str


@pytest.fixture(scope="module")
def receipt(cli: Cli, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Two healthy instances of a service."""
    name = f"receipt-{uuid.uuid4().hex[:8]}"
    file = write_spec(tmp_path_factory.mktemp("specs"), name)
    first = cli("deploy", file)
    assert first.exit_code == 0, first.stderr
    yield Deployed(name, file, first.stdout)
    cli("stop", name, "--purge", "--yes")


def entries_of(session: Session, name: str) -> set[str]:
    """Kinds of the config entries that are about a service."""
    return {kind for kind in (*OWN_KINDS, INTENTIONS) if session.consul.read_entry(kind, name) is not None}


def test_a_deploy_prints_what_the_chapter_prints(receipt: Deployed) -> None:
    assert receipt.first_output == (
        "✓ Command started\n"
        "✓ Registered in service mesh\n"
        "✓ Auto-scaler set (2-10)\n"
        f"Service URL: http://{receipt.name}.mesh/receipt\n"
    )


def test_a_second_deploy_changes_nothing_and_says_so(cli: Cli, session: Session, receipt: Deployed) -> None:
    before = session.nomad.read_job(receipt.name)
    told = cli("deploy", receipt.file)
    machine = cli("deploy", receipt.file, "--output", "json")
    after = session.nomad.read_job(receipt.name)
    assert told.exit_code == machine.exit_code == 0
    assert "nothing to change" in told.stdout
    assert json.loads(machine.stdout)["changed"] is False
    assert before is not None
    assert after is not None
    assert (before.version, before.modify_index) == (after.version, after.modify_index)


def test_a_plan_right_after_a_deploy_is_empty(cli: Cli, receipt: Deployed) -> None:
    ran = cli("plan", receipt.file)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[0].startswith(f"{receipt.name}: nothing to change")


def test_a_plan_shows_what_an_edit_would_change_and_changes_nothing(
    cli: Cli, session: Session, receipt: Deployed, tmp_path: Path
) -> None:
    before = session.nomad.read_job(receipt.name)
    edited = write_spec(tmp_path, receipt.name, env={"LEVEL": "debug", "API_TOKEN": "s3cr3t"})
    ran = cli("plan", edited)
    assert ran.exit_code == 1
    assert '+ TaskGroups.app.Tasks.app.Env.LEVEL: "debug"' in ran.stdout
    assert "API_TOKEN" in ran.stdout
    assert "s3cr3t" not in ran.stdout + ran.stderr + cli("plan", edited, "-o", "json").stdout
    after = session.nomad.read_job(receipt.name)
    assert before is not None
    assert after is not None
    assert before.modify_index == after.modify_index


def test_status_shows_the_service_and_its_instances(cli: Cli, receipt: Deployed) -> None:
    (row,) = [line.split() for line in cli("status").stdout.splitlines() if line.startswith(f"{receipt.name} ")]
    assert row[1] == "1.0.0"
    assert row[3:7] == ["healthy", "2/2", "2-10", "successful"]
    detail = json.loads(cli("status", receipt.name, "--output", "json").stdout)["service"]
    assert [one["health"] for one in detail["instances"]] == ["passing", "passing"]
    assert {one["sidecar"] for one in detail["instances"]} == {"running"}
    assert len({one["release"] for one in detail["instances"]} | {detail["summary"]["release"]}) == 1


def test_the_registry_is_the_catalog(cli: Cli, session: Session, receipt: Deployed) -> None:
    found = json.loads(cli("registry", "lookup", receipt.name, "-o", "json").stdout)["service"]
    sidecars = session.consul.instances(receipt.name, passing=True, connect=True).value
    assert (found["version"], found["url"], found["port"], found["protocol"], found["healthy"]) == (
        "1.0.0",
        f"http://{receipt.name}.mesh/receipt",
        3000,
        "http",
        2,
    )
    assert {one["address"] for one in found["endpoints"]} == {f"{one.address}:{one.port}" for one in sidecars}
    assert found["routes"] == [{"path": "/receipt", "match": "prefix", "methods": ["POST"]}]
    assert receipt.name in cli("registry", "list").stdout


def test_logs_come_from_all_instances_each_line_tagged(cli: Cli, session: Session, receipt: Deployed) -> None:
    ids = {allocation.id[:8] for allocation in session.nomad.job_allocations(receipt.name).value}
    lines = cli("logs", receipt.name, "--tail", "20").stdout.splitlines()
    assert sorted(lines) == sorted(f"[{id_}] {text}" for id_ in ids for text in ("listening", "nothing is wrong"))
    assert len(ids) == 2
    one = ids.pop()
    assert cli("logs", receipt.name, "--alloc", one, "--stderr").stdout == f"[{one}] nothing is wrong\n"
    assert cli("logs", receipt.name, "--grep", "^list", "--alloc", one).stdout == f"[{one}] listening\n"


def test_followed_logs_bring_new_instances_and_end_on_ctrl_c(
    session: Session, stack: LiveStack, receipt: Deployed
) -> None:
    command = subprocess.Popen(
        [sys.executable, "-u", "-m", "hms_nomad", "logs", receipt.name, "--follow", "--stdout"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=stack.environment | {"PYTHONUNBUFFERED": "1"},
    )
    assert command.stdout is not None
    guard = threading.Timer(90, command.kill)
    guard.start()
    try:
        known = {command.stdout.readline() for _ in range(2)}
        victim = session.nomad.job_allocations(receipt.name).value[0]
        session.nomad.stop_allocation(victim.id)
        newcomer = command.stdout.readline()
        command.send_signal(signal.SIGINT)
        _, told = command.communicate()
    finally:
        guard.cancel()
        command.kill()
    assert all(re.fullmatch(r"\[[0-9a-f]{8}\] listening\n", line) for line in (*known, newcomer))
    assert newcomer not in known
    assert command.returncode == 130
    assert told.splitlines()[-1] == "interrupted"


def test_names_of_services_complete_from_the_cluster(stack: LiveStack, receipt: Deployed) -> None:
    line = f"hms-nomad status {receipt.name[:10]}"
    ran = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'hms-nomad'; from hms_nomad.__main__ import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env=stack.environment | {"_HMS_NOMAD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "2"},
    )
    assert receipt.name in ran.stdout.split()


def test_a_rendered_job_and_rendered_entries_are_taken_by_the_servers(
    cli: Cli, session: Session, receipt: Deployed, tmp_path: Path
) -> None:
    rendered = cli("render", receipt.file, "--format", "json")
    assert rendered.stdout == cli("render", receipt.file, "--format", "json").stdout
    objects = json.loads(rendered.stdout)
    assert session.nomad.validate_job(objects["nomad"]["Job"]).errors == ()
    for entry in objects["consul"]:
        stored = session.consul.read_entry(entry["Kind"], entry["Name"])
        assert stored is not None
        session.consul.write_entry({**entry, "Meta": dict(stored.body["Meta"])}, stored.modify_index)
    assert cli("plan", receipt.file).exit_code == 0
    hcl = tmp_path / "job.nomad.hcl"
    hcl.write_text(cli("render", receipt.file, "--format", "hcl").stdout, encoding="utf-8")
    checked = subprocess.run(
        [binary("nomad"), "job", "validate", f"-address={session.nomad.address}", str(hcl)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_failed_deploy_says_why_and_leaves_nothing_running(
    cli: Cli, session: Session, service: str, tmp_path: Path
) -> None:
    file = write_spec(tmp_path, service, _CRASH)
    ran = cli("deploy", file, "--quiet", seconds=280)
    assert ran.exit_code == 5
    assert ran.stdout == ""
    assert f"error: {service} 1.0.0 was not deployed: " in ran.stderr
    assert "the database is not configured" in ran.stderr
    assert "Exit Code: 3" in ran.stderr
    assert f"next: hms-nomad logs {service} --alloc " in ran.stderr
    stored = session.nomad.read_job(service)
    assert stored is None or stored.stop


def test_a_deploy_out_of_time_ends_with_124_and_the_same_command_finishes(
    cli: Cli, service: str, tmp_path: Path
) -> None:
    file = write_spec(tmp_path, service)
    ran = cli("deploy", file, "--timeout", "1s")
    assert ran.exit_code == 124
    assert "error: " in ran.stderr.splitlines()[-1]
    finished = cli("deploy", file)
    assert finished.exit_code == 0, finished.stderr
    assert cli("stop", service, "--purge").exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_deploy_says_what_is_done_and_can_be_finished(
    number: signal.Signals, cli: Cli, stack: LiveStack, service: str, tmp_path: Path
) -> None:
    file = write_spec(tmp_path, service)
    command = subprocess.Popen(
        [sys.executable, "-u", "-m", "hms_nomad", "deploy", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=stack.environment,
    )
    assert command.stderr is not None
    for line in command.stderr:
        if "Started" in line:
            break
    command.send_signal(number)
    out, told = command.communicate(timeout=60)
    assert (command.returncode, out) == (130, "")
    last = told.splitlines()[-1]
    assert f"job {service} created" in last
    assert f"not done: waiting until {service} is healthy" in last
    finished = cli("deploy", file)
    assert finished.exit_code == 0, finished.stderr
    assert cli("stop", service, "--purge").exit_code == 0


def test_stop_takes_away_all_that_was_made_and_nothing_else(
    cli: Cli, session: Session, receipt: Deployed, service: str, tmp_path: Path
) -> None:
    file = write_spec(tmp_path, service, uses=[receipt.name])
    assert cli("deploy", file).exit_code == 0
    assert service in told_sources(session, receipt.name)
    stopped = cli("stop", service, "--output", "json")
    assert stopped.exit_code == 0, stopped.stderr
    outcome = json.loads(stopped.stdout)["outcome"]
    assert (outcome["changed"], outcome["foreign"]) == (True, [])
    assert entries_of(session, service) == set()
    assert service not in told_sources(session, receipt.name)
    assert all(one.done for one in session.nomad.job_allocations(service).value)
    again = cli("stop", service)
    assert (again.exit_code, again.stdout) == (0, f"✓ {service} does not run and has no entries: nothing to do\n")
    assert session.nomad.read_job(service) is not None
    assert cli("stop", service, "--purge").exit_code == 0
    assert session.nomad.read_job(service) is None
    assert cli("plan", receipt.file).exit_code == 0


def told_sources(session: Session, destination: str) -> set[str]:
    """Who is named in a service's intentions."""
    stored = session.consul.read_entry(INTENTIONS, destination)
    return {source["Name"] for source in stored.body["Sources"]} if stored else set()


def test_what_is_not_ours_is_never_touched(cli: Cli, session: Session, service: str, tmp_path: Path) -> None:
    session.nomad.register_job(job(service), 0)
    file = write_spec(tmp_path, service)
    for words in (("deploy", file), ("plan", file), ("stop", service), ("logs", service), ("status", service)):
        ran = cli(*words)
        assert ran.exit_code == 3, words
        assert "was not made by hms-nomad" in ran.stderr
    stored = session.nomad.read_job(service)
    assert stored is not None
    assert OWNER_KEY not in stored.meta
    assert OWNER not in stored.meta.values()
    assert entries_of(session, service) == set()


def test_bad_input_writes_nothing(cli: Cli, session: Session, service: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.hms.yml"
    file.write_text(
        textwrap.dedent(f"""\
            name: {service}
            version: 1.0.0
            image: x:1
            port: 3000
            scaling: {{min: 3, max: 2}}
            """),
        encoding="utf-8",
    )
    ran = cli("deploy", file)
    assert ran.exit_code == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"{file}:5:")
    assert session.nomad.read_job(service) is None
    assert entries_of(session, service) == set()


@pytest.mark.parametrize("variable", ["NOMAD_ADDR", "CONSUL_HTTP_ADDR"])
def test_a_server_that_is_away_is_named(cli: Cli, receipt: Deployed, variable: str) -> None:
    nowhere = "http://127.0.0.1:9"
    ran = cli("deploy", receipt.file, "-o", "json", **{variable: nowhere})
    assert ran.exit_code == 6
    assert json.loads(ran.stdout)["error"]["code"] == "unavailable"
    assert nowhere in ran.stderr


def test_a_service_whose_instances_find_no_node_says_so_at_once(cli: Cli, service: str, tmp_path: Path) -> None:
    file = write_spec(tmp_path, service, resources={"cpu": 100, "memory": 99_000_000})
    ran = cli("deploy", file)
    assert ran.exit_code == 5
    assert "memory is exhausted" in ran.stderr


def test_the_stack_shows_itself(cli: Cli, stack: LiveStack) -> None:
    state = stack.settings.state_dir
    found = json.loads(cli("dev", "status", "--name", stack.settings.name, "--state-dir", state, "-o", "json").stdout)[
        "stack"
    ]
    assert found["state"] == "up"
    assert {"consul", "nomad"} <= {server["name"] for server in found["servers"]}
    shown = cli("context", "show").stdout
    assert stack.platform.nomad.address in shown
    assert os.environ.get("NOMAD_TOKEN", "no token at all") not in shown
