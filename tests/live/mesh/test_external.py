"""A database outside the mesh, as ``db.mesh:PORT``, for those that may call it; it has no job of its own."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.waiting import eventually

_CALLER = """
import http.server, os, socket

class Caller(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, body = 200, b"ok"
        if self.path == "/db":
            host, _, port = os.environ["HMS_OUTER_DB_URL"].removeprefix("tcp://").rpartition(":")
            try:
                with socket.create_connection((host, int(port)), 5) as db:
                    db.settimeout(5)
                    db.sendall(b"select 1")
                    body = db.recv(100) or b"closed"
            except OSError as error:
                status, body = 502, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Caller).serve_forever()
"""


class _Database(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        question = self.request.recv(100)
        self.request.sendall(b"answer to " + question)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture(scope="module")
def database(session: Session) -> Iterator[tuple[str, int]]:
    """Something that speaks TCP on the node's own address, outside the mesh."""
    host = session.nomad.ready_nodes()[0].attributes["unique.network.ip-address"]
    with _Server((host, 0), _Database) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield host, server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def specs(database: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database and a service that uses it."""
    folder = tmp_path_factory.mktemp("external")
    host, port = database
    outer = {
        "kind": "external",
        "name": "outer-db",
        "version": "15",
        "host": host,
        "port": port,
        "protocol": "tcp",
        "owner": "tax-team",
    }
    caller = {
        "name": "outer-caller",
        "version": "1.0.0",
        "command": ["python3", "-c", _CALLER],
        "port": 3000,
        "health": {"path": "/health"},
        "scaling": {"min": 1, "max": 1},
        "rollout": {"drain": "0s"},
        "routes": [{"path": "/db", "methods": ["GET"]}],
        "uses": ["outer-db"],
        "tcp": {"outer-db": port},
        "allow": ["tax-portal"],
    }
    for spec in (outer, caller):
        (folder / f"{spec['name']}.hms.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture(scope="module")
def deployed(cli: Cli, specs: Path) -> Iterator[Path]:
    """Egress, database and caller, brought up together."""
    assert cli("platform", "install", "egress").exit_code == 0
    ran = cli("deploy", specs)
    assert ran.exit_code == 0, ran.stderr
    yield specs
    for name in ("outer-caller", "outer-db"):
        cli("stop", name, "--purge", "--yes")
    cli("platform", "remove", "egress", "--force")


def test_a_service_reaches_the_database_by_its_name_in_the_mesh(cli: Cli, deployed: Path) -> None:
    ran = cli("call", "GET", "outer-caller/db", "--as", "tax-portal")
    assert ran.stdout == "answer to select 1\n", ran.stderr


def test_the_rules_name_who_may_and_nobody_else(cli: Cli, deployed: Path) -> None:
    assert cli("mesh", "can-i", "outer-caller", "outer-db").exit_code == 0
    assert cli("mesh", "can-i", "stranger", "outer-db").exit_code == 8


def test_a_second_deploy_changes_nothing(cli: Cli, deployed: Path) -> None:
    ran = cli("deploy", deployed / "outer-db.hms.json", "--output", "json")
    assert ran.exit_code == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["changed"] is False
    assert (document["services"][0]["kind"], document["services"][0]["status"]) == ("external", "unchanged")
    assert cli("plan", deployed).exit_code == 0


def test_a_kept_plan_of_it_is_deployed(cli: Cli, deployed: Path, tmp_path: Path, database: tuple[str, int]) -> None:
    file = tmp_path / "moved.hms.json"
    spec = json.loads((deployed / "outer-db.hms.json").read_text())
    file.write_text(json.dumps(spec | {"version": "16"}))
    kept = tmp_path / "next.plan"
    assert cli("plan", file, "--out", kept).exit_code == 1
    ran = cli("deploy", kept)
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout == f"✓ outer-db 16 is in the mesh\nService URL: tcp://outer-db.mesh:{database[1]}\n"
    assert cli("deploy", deployed / "outer-db.hms.json").exit_code == 0


def test_the_registry_knows_it(cli: Cli, deployed: Path, database: tuple[str, int]) -> None:
    found = json.loads(cli("registry", "lookup", "outer-db", "--output", "json").stdout)["service"]
    assert found["url"] == f"tcp://outer-db.mesh:{database[1]}"
    assert (found["version"], found["protocol"], found["port"]) == ("15", "tcp", database[1])
    assert (found["owner"], found["healthy"]) == ("tax-team", 1)


def test_other_commands_are_not_confused_by_what_has_no_job(cli: Cli, deployed: Path) -> None:
    for words in (("status",), ("registry", "list"), ("drift",), ("render", deployed / "outer-db.hms.json")):
        ran = cli(*words)
        assert "internal:" not in ran.stderr, ran.stderr
        assert ran.exit_code in (0, 1), ran.stderr


def test_a_stopped_one_leaves_nothing_but_the_rights_that_others_declared(
    cli: Cli, deployed: Path, session: Session
) -> None:
    ran = cli("stop", "outer-db", "--yes")
    assert ran.exit_code == 0, ran.stderr
    try:
        assert session.consul.instances("outer-db").value == ()
        egress = session.consul.read_entry("terminating-gateway", "hms-egress")
        assert egress is not None
        assert not egress.body.get("Services")
        assert session.consul.read_entry("service-defaults", "outer-db") is None
    finally:
        assert cli("deploy", deployed / "outer-db.hms.json").exit_code == 0
    test_a_service_reaches_the_database_by_its_name_in_the_mesh(cli, deployed)


def test_what_the_egress_refuses_fails_and_leaves_nothing_in_plain_text(
    cli: Cli, deployed: Path, session: Session, tmp_path: Path
) -> None:
    test_a_service_reaches_the_database_by_its_name_in_the_mesh(cli, deployed)
    plain = json.loads((deployed / "outer-db.hms.json").read_text())
    tls = {"ca_file": "/nowhere/ca.pem", "server_name": "db.agency.gov"}
    file = tmp_path / "by-tls.hms.json"
    file.write_text(json.dumps(plain | {"tls": tls}))
    try:
        ran = cli("deploy", file)
        assert ran.exit_code == 5, ran.stderr
        assert "Invalid path: /nowhere/ca.pem" in ran.stderr
        assert "closed, so that nothing goes there in plain text" in ran.stderr
        asked = cli("call", "GET", "outer-caller/db", "--as", "tax-portal")
        assert "answer to" not in asked.stdout, asked.stdout
        assert egress_link(session) is None
        # Without a deploy, nobody takes it back: the doctor names it.
        assert cli("deploy", deployed / "outer-db.hms.json").exit_code == 0
        stored = session.consul.read_entry("terminating-gateway", "hms-egress")
        assert stored is not None
        broken = {"Name": "outer-db", "CAFile": "/nowhere/ca.pem", "SNI": "db.agency.gov"}
        session.consul.write_entry({**stored.body, "Services": [broken]}, stored.modify_index)
        found = eventually(lambda: egress_findings(cli))
        assert "outer-db: Invalid path: /nowhere/ca.pem" in found[0]["detail"]
        # The same again is no excuse: what is refused is no way.
        assert cli("deploy", file).exit_code == 5
        assert egress_link(session) is None
    finally:
        assert cli("deploy", deployed / "outer-db.hms.json").exit_code == 0
    assert egress_findings(cli) == []
    test_a_service_reaches_the_database_by_its_name_in_the_mesh(cli, deployed)


def egress_link(session: Session) -> dict | None:
    """What the egress is told of the database."""
    egress = session.consul.read_entry("terminating-gateway", "hms-egress")
    assert egress is not None
    return next((link for link in egress.body.get("Services") or () if link["Name"] == "outer-db"), None)


def egress_findings(cli: Cli) -> list[dict]:
    """What the doctor says of an egress that refuses something."""
    return [one for one in json.loads(cli("doctor", "--output", "json").stdout)["findings"] if one["code"] == "D312"]
