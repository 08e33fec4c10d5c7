"""The mesh and the gateway on a real stack: who gets in, by which rule, and what others see of it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_nomad.clients.errors import DeniedError, ServerError
from hms_nomad.clients.http_call import HTTP, open_socket
from hms_nomad.clients.http_call import ask as ask_target
from hms_nomad.workflows.mesh.caller import Caller, target_of
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, Ran

_APP = """
import http.server, json, os, re

class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        certificate = self.headers.get("X-Forwarded-Client-Cert") or ""
        peer = re.search(r"URI=(spiffe://[^;,]+)", certificate)
        body = json.dumps({
            "method": self.command, "path": self.path, "body": self.rfile.read(length).decode(),
            "caller": peer.group(1).rpartition("/")[2] if peer else None,
            "request_id": self.headers.get("X-Request-Id"),
        }).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), App).serve_forever()
"""


@pytest.fixture(scope="module")
def gateway(cli: Cli) -> Iterator[str]:
    """The platform's gateway, installed; its URL."""
    ran = cli("platform", "install", "gateway", "--output", "json")
    assert ran.exit_code == 0, ran.stderr
    yield json.loads(cli("gateway", "status", "--output", "json").stdout)["gateway"]["url"]
    assert cli("platform", "remove", "gateway", "--force").exit_code == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's specs lie."""
    return tmp_path_factory.mktemp("specs")


def deploy(cli: Cli, folder: Path, name: str, routes: list, **fields: object) -> str:
    """Deploy a service of one instance that says what it was asked."""
    spec = {
        "name": name,
        "version": "1.0.0",
        "command": ["python3", "-c", _APP],
        "port": 3000,
        "health": {"path": "/health"},
        "scaling": {"min": 1, "max": 1},
        "rollout": {"drain": "0s"},
        "routes": routes,
        **fields,
    }
    file = folder / f"{name}.hms.json"
    file.write_text(json.dumps(spec))
    ran = cli("deploy", file)
    assert ran.exit_code == 0, ran.stderr
    return name


@pytest.fixture(scope="module")
def front(gateway: str, cli: Cli, folder: Path) -> Iterator[str]:
    """A service behind the gateway."""
    name = deploy(cli, folder, f"front-{uuid.uuid4().hex[:8]}", PUBLIC)
    yield name
    cli("stop", name, "--purge", "--yes")


@pytest.fixture(scope="module")
def inner(cli: Cli, folder: Path) -> Iterator[str]:
    """A service that lets tax-portal in, and nobody else."""
    name = deploy(cli, folder, f"inner-{uuid.uuid4().hex[:8]}", ROUTES, allow=["tax-portal"])
    yield name
    cli("stop", name, "--purge", "--yes")


def ask(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(urllib.request.Request(url, body, method=method), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def body_of(ran: Ran) -> dict:
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)


def wait_for(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Nothing tells when Envoy has taken over what Consul said."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


PUBLIC = [
    {"path": "/open", "methods": ["GET", "POST"], "match": "exact", "public": True},
    {"path": "/files/secret"},
    {"path": "/files", "methods": ["GET"], "public": True},
    {"path": "/inside"},
]
ROUTES = [
    {"path": "/one", "methods": ["POST"], "match": "exact"},
    {"path": "/two"},
    {"path": "/r/[0-9]+", "match": "regex", "methods": ["GET"]},
]


def test_the_outside_gets_what_is_public_and_nothing_else(gateway: str, front: str) -> None:
    status, text = ask(f"{gateway}/open", "POST", b"hello")
    answer = json.loads(text)
    assert status == 200
    assert (answer["method"], answer["body"], answer["caller"]) == ("POST", "hello", "hms-gateway")
    assert answer["request_id"]
    assert ask(f"{gateway}/files/a/b")[0] == 200
    status, text = ask(f"{gateway}/open", "PUT")
    assert (status, json.loads(text)["error"]) == (405, "this path answers GET, POST")
    assert json.loads(ask(f"{gateway}/inside")[1])["request_id"]
    assert ask(f"{gateway}/inside")[0] == 404
    assert ask(f"{gateway}/nothing/of/{front}")[0] == 404
    # It lies inside a public path, so the gateway lets it through and the service's own sidecar stops it.
    status, text = ask(f"{gateway}/files/secret/a")
    assert (status, json.loads(text)["error"]) == (403, "the service does not answer this to the outside")


def test_routes_are_listed_as_bound(gateway: str, cli: Cli, front: str) -> None:
    routes = [one for one in body_of(cli("gateway", "routes", "-o", "json"))["routes"] if one["service"] == front]
    assert [(one["method"], one["path"], one["bound"], one["ours"]) for one in routes] == [
        ("GET", "/files", True, True),
        ("GET", "/open", True, True),
        ("POST", "/open", True, True),
    ]
    assert routes[1]["url"] == f"{gateway}/open"


def test_a_second_install_changes_nothing(gateway: str, cli: Cli) -> None:
    ran = cli("platform", "install", "gateway", "--output", "json")
    assert body_of(ran)["installed"]["changed"] is False
    jobs = body_of(cli("platform", "status", "-o", "json"))["jobs"]
    installed = [(one["name"], one["state"], one["healthy"]) for one in jobs if one["state"] != "not installed"]
    assert ("hms-gateway", "running", 1) in installed


def test_a_gateway_with_services_behind_it_is_not_removed_by_the_way(gateway: str, cli: Cli, front: str) -> None:
    ran = cli("platform", "remove", "gateway")
    assert ran.exit_code == 2
    assert front in ran.stderr
    assert "--force" in ran.stderr
    assert ask(f"{gateway}/open")[0] == 200


def test_a_clash_of_routes_is_told(cli: Cli, front: str, tmp_path: Path) -> None:
    other = {"name": "clashing", "version": "1", "command": ["true"], "port": 1, "routes": PUBLIC[:1]}
    file = tmp_path / "clash.hms.json"
    file.write_text(json.dumps(other))
    ran = cli("plan", file)
    assert f"the gateway has GET /open already, for {front}" in ran.stderr


def test_a_route_that_is_made_private_is_closed(gateway: str, cli: Cli, front: str, folder: Path) -> None:
    deploy(cli, folder, front, [{"path": "/open"}])
    try:
        assert front not in cli("gateway", "routes").stdout
        wait_for(lambda: ask(f"{gateway}/open")[0] == 404)
    finally:
        deploy(cli, folder, front, PUBLIC)
    assert ask(f"{gateway}/open")[0] == 200


def test_routes_of_one_path_answer_in_the_order_of_the_spec(gateway: str, cli: Cli, front: str, folder: Path) -> None:
    exact = {"path": "/both", "match": "exact", "methods": ["GET"], "public": True, "rewrite": "/one"}
    prefix = {"path": "/both", "methods": ["GET"], "public": True, "rewrite": "/many"}

    def answered(path: str) -> str:
        return str(json.loads(ask(f"{gateway}{path}")[1]).get("path"))

    try:
        for routes, first in (([exact, prefix], "/one"), ([prefix, exact], "/many")):
            deploy(cli, folder, front, [*PUBLIC, *routes])
            wait_for(lambda first=first: answered("/both") == first)
            wait_for(lambda: answered("/both/deeper") == "/many/deeper")
            assert ask(f"{gateway}/both", "PUT")[0] == 405
    finally:
        deploy(cli, folder, front, PUBLIC)


def test_callers_get_what_can_i_says(cli: Cli, inner: str) -> None:
    """The evaluation here and the sidecar's enforcement are one: every answer is tried."""
    for caller, method, path in (
        ("tax-portal", "POST", "/one"),
        ("tax-portal", "GET", "/one"),
        ("tax-portal", "POST", "/one/more"),
        ("tax-portal", "GET", "/two/a?x=1"),
        ("tax-portal", "GET", "/r/12"),
        ("tax-portal", "GET", "/r/12/x"),
        ("tax-portal", "GET", "/health"),
        ("stranger", "POST", "/one"),
    ):
        said = cli("mesh", "can-i", caller, inner, method, path)
        tried = cli("call", method, f"http://{inner}.mesh{path}", "--as", caller)
        assert said.exit_code == tried.exit_code, (caller, method, path, said.stdout, tried.stderr)
        assert said.exit_code in (0, 8)
    assert cli("mesh", "can-i", "tax-portal", inner).stdout.startswith("✓")
    assert cli("mesh", "can-i", "stranger", inner).exit_code == 8


def test_a_call_proves_who_is_at_both_ends(cli: Cli, inner: str, session: Session) -> None:
    ran = cli("call", "POST", f"{inner}/one", "-d", '{"a": 1}', "--as", "tax-portal", "-v", "-o", "json")
    answer = body_of(ran)
    domain = session.consul.ca_roots()[0].trust_domain
    assert answer["peer"] == f"spiffe://{domain}/ns/default/dc/dc1/svc/{inner}"
    assert answer["caller"] == f"spiffe://{domain}/ns/default/dc/dc1/svc/tax-portal"
    assert json.loads(answer["body"])["caller"] == "tax-portal"
    assert json.loads(answer["body"])["body"] == '{"a": 1}'
    assert "by mutual TLS" in ran.stderr


def test_a_call_that_the_mesh_refuses_names_who_is_let_in(cli: Cli, inner: str) -> None:
    ran = cli("call", "GET", f"{inner}/two")
    assert ran.exit_code == 8
    assert "does not allow this to hms-operator-" in ran.stderr
    assert "it lets in: tax-portal" in ran.stderr
    assert cli("call", "GET", "no-such-service/x").exit_code == 2


def test_the_sidecar_takes_no_plain_text(inner: str, session: Session) -> None:
    sidecar = session.consul.instances(inner, connect=True).value[0]
    plain = http.client.HTTPConnection(sidecar.address, sidecar.port, timeout=5)
    plain.request("GET", "/two")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain.getresponse()
    plain.close()


def test_whoever_is_not_the_service_gets_no_request(inner: str, front: str, session: Session) -> None:
    """Another service's sidecar at the address is found out by its identity before anything is sent."""
    caller = Caller.of(session, "tax-portal")
    other = session.consul.instances(front, connect=True).value[0]
    with pytest.raises(DeniedError, match=f"it is spiffe://.*/svc/{front}, not spiffe://.*/svc/{inner}"):
        ask_target(target_of(inner, other, caller), "GET", "/two", {}, None, 5.0, caller.context_for((HTTP,)))


def test_an_instance_takes_no_more_connections_than_its_spec_says(cli: Cli, folder: Path, session: Session) -> None:
    policy = {"max_connections": 1, "balance": "least_request"}
    name = deploy(cli, folder, f"few-{uuid.uuid4().hex[:8]}", ROUTES, allow=["tax-portal"], mesh=policy)
    (sidecar,) = session.consul.instances(name, connect=True).value
    caller = Caller.of(session, "tax-portal")
    target, context = target_of(name, sidecar, caller), caller.context_for((HTTP,))

    def answered() -> bool:
        try:
            return ask_target(target, "GET", "/two", {}, None, 5.0, context).status == 200
        except ServerError:
            return False

    with open_socket(target, 5.0, context):
        assert not answered()
    # The sidecar hears of the end of a connection a moment later.
    wait_for(answered)
    settings = body_of(cli("mesh", "explain", folder / f"{name}.hms.json", "-o", "json"))["settings"]
    found = {one["setting"]: (one["value"], one["stored"]) for one in settings}
    assert found["connections of an instance"] == ("1", "same")
    assert found["load balancing"] == ("least_request", "same")
    assert cli("stop", name, "--purge", "--yes").exit_code == 0


def test_the_graph_and_the_sidecars_are_shown(cli: Cli, inner: str) -> None:
    cli("call", "GET", f"{inner}/two", "--as", "tax-portal")
    rights = [one for one in body_of(cli("mesh", "graph", "-o", "json"))["rights"] if one["destination"] == inner]
    may = ["POST /one", "* /two...", "GET ~/r/[0-9]+"]
    assert rights == [{"source": "tax-portal", "destination": inner, "may": may, "declared_by": "allow"}]
    assert f'["{inner}"]' in cli("mesh", "graph", "--as", "mermaid").stdout
    assert f">{inner}</text>" in cli("mesh", "graph", "--as", "svg").stdout
    (state,) = body_of(cli("mesh", "status", inner, "-o", "json"))["sidecars"]
    assert state["identity"].endswith(f"/svc/{inner}")
    assert state["sync"] == "in sync"
    assert state["issued"] < state["expires"]
    assert state["requests"] >= 1
    assert state["problems"] == []


def test_a_local_port_leads_into_the_mesh(stack: LiveStack, inner: str) -> None:
    command = [sys.executable, "-m", "hms_nomad", "connect", inner, "--as", "tax-portal", "-o", "json"]
    environment = stack.environment | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            opened = json.loads(process.stdout.readline())["opened"]
            for number in range(3):
                status, text = ask(f"{opened['url']}/two", "POST", str(number).encode())
                assert status == 200
                assert json.loads(text)["body"] == str(number)
                assert json.loads(text)["caller"] == "tax-portal"
            assert ask(f"{opened['url']}/one")[0] == 403
        finally:
            process.terminate()
        assert process.wait(20) == 0


def test_the_registry_is_followed(stack: LiveStack, inner: str) -> None:
    command = [sys.executable, "-m", "hms_nomad", "registry", "watch", inner, "-o", "json"]
    environment = stack.environment | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            service = json.loads(process.stdout.readline())["service"]
            assert (service["name"], service["healthy"], service["stale"]) == (inner, 1, False)
        finally:
            process.terminate()


def test_a_public_route_without_a_gateway_is_told(cli: Cli, tmp_path: Path) -> None:
    assert cli("platform", "remove", "gateway", "--force").exit_code == 0
    routes = [{"path": "/", "public": True}]
    spec = {"name": "lonely", "version": "1", "command": ["true"], "port": 1, "routes": routes}
    file = tmp_path / "lonely.hms.json"
    file.write_text(json.dumps(spec))
    ran = cli("plan", file)
    assert ran.exit_code == 1
    assert "wait for the gateway hms-gateway, which is not installed" in ran.stderr
    assert cli("gateway", "status").stdout == (
        "hms-gateway is not installed; install it with: hms-nomad platform install gateway\n"
    )
