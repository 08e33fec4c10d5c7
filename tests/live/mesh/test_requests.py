"""One request through gateway, caller and callee: its id, its trace, its spans, and what a tap shows of it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hms_nomad.platform.context import CONTEXT_VARIABLE
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, run_cli
from tests.live.mesh.collector import Collector
from tests.waiting import eventually

_APP = """
import http.server, json, os, urllib.request

HANDED_ON = ("x-request-id", "traceparent", "tracestate")

class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        said = {name: self.headers.get(name) for name in HANDED_ON}
        if self.path.startswith("/through"):
            headers = {name: value for name, value in said.items() if value}
            url = next(value for name, value in os.environ.items() if name.startswith("HMS_") and name.endswith("_URL"))
            with urllib.request.urlopen(urllib.request.Request(url + "/deep?who=jane", headers=headers)) as answer:
                said["deep"] = json.loads(answer.read())
                said["returned"] = answer.headers["x-request-id"]
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), App).serve_forever()
"""


@dataclass(frozen=True)
class City:
    """A gateway, a service behind it, and one behind that; all of them tell the collector."""

    cli: Cli
    url: str
    front: str
    deep: str
    collector: Collector
    specs: Path


@pytest.fixture(scope="module")
def city(stack: LiveStack, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    collector = Collector(session.nomad.ready_nodes()[0].attributes["unique.network.ip-address"])
    contexts = stack.config_dir / "contexts"
    own = yaml.safe_load((contexts / f"{stack.settings.name}.yml").read_text())
    traced = contexts / "traced.yml"
    traced.write_text(yaml.safe_dump(own | {"name": "traced", "tracing": {"otlp": collector.url, "sample": 100}}))
    cli = functools.partial(run_cli, stack, **{CONTEXT_VARIABLE: "traced"})
    folder, suffix = tmp_path_factory.mktemp("city"), uuid.uuid4().hex[:6]
    front, deep = f"front-{suffix}", f"deep-{suffix}"
    routes = {"front": [{"path": "/through", "methods": ["GET"], "public": True}], "deep": [{"path": "/deep"}]}
    for name, more in ((front, {"routes": routes["front"], "uses": [deep]}), (deep, {"routes": routes["deep"]})):
        fields = {"name": name, "version": "1.0.0", "command": ["python3", "-c", _APP], "port": 3000}
        settings = {"health": {"path": "/health"}, "scaling": {"min": 1, "max": 1}, "rollout": {"drain": "0s"}}
        (folder / f"{name}.hms.json").write_text(json.dumps(fields | settings | more))
    try:
        for words in (("platform", "access-log", "on"), ("platform", "install", "gateway"), ("deploy", folder)):
            ran = cli(*words)
            assert ran.exit_code == 0, ran.stderr
        url = json.loads(cli("gateway", "status", "--output", "json").stdout)["gateway"]["url"]
        yield City(cli, url, front, deep, collector, folder)
    finally:
        for name in (front, deep):
            cli("stop", name, "--purge", "--yes")
        cli("platform", "remove", "gateway", "--force")
        cli("platform", "access-log", "off")
        traced.unlink()
        collector.close()


def ask(city: City, **headers: str) -> tuple[dict, str]:
    """What the services said of one request, and the id that came back."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(f"{city.url}/through?who=jane", headers=given), timeout=15) as answer:
        return json.loads(answer.read()), answer.headers["x-request-id"]


def test_one_id_goes_all_the_way_and_comes_back(city: City) -> None:
    said, returned = ask(city)
    made = said["x-request-id"]
    assert uuid.UUID(made)
    assert (said["deep"]["x-request-id"], said["returned"], returned) == (made, made, made)
    mine = str(uuid.uuid4())
    said, returned = ask(city, x_request_id=mine)
    assert (said["deep"]["x-request-id"], said["returned"], returned) == (mine, mine, mine)


def test_one_call_is_one_trace_in_the_spans_of_gateway_caller_and_callee(city: City) -> None:
    trace = uuid.uuid4().hex
    said, _ = ask(city, traceparent=f"00-{trace}-b7ad6b7169203331-01", tracestate="city=7")
    assert said["deep"]["traceparent"].split("-")[1] == trace
    assert said["deep"]["tracestate"] == "city=7"
    wanted = {"hms-gateway": 1, city.front: 2, city.deep: 1}

    def counts() -> dict[str, int]:
        return {service: len(found) for service, found in city.collector.of(trace).items()}

    eventually(counts, lambda found: found == wanted, seconds=30)
    spans = [span for found in city.collector.of(trace).values() for span in found]
    parents = {span.id: span.parent for span in spans}
    (last,) = city.collector.of(trace)[city.deep]
    chain, here = [], last.id
    while here in parents:
        chain.append(here)
        here = parents[here]
    assert len(chain) == 4
    assert here == "b7ad6b7169203331"


def test_a_tap_shows_requests_with_the_identities_of_both_sides(city: City, stack: LiveStack) -> None:
    words = ["mesh", "tap", city.deep, "--caller", city.front, "--limit", "1", "--for", "60s", "--output", "json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "hms_nomad", *words], stdout=subprocess.PIPE, text=True, env=stack.environment
    )
    mine = str(uuid.uuid4())
    eventually(lambda: ask(city, x_request_id=mine) and running.poll() is not None, seconds=60)
    (line,) = running.communicate()[0].splitlines()
    request = json.loads(line)["request"]
    assert request["caller_id"].endswith(f"/svc/{city.front}")
    assert request["callee_id"].endswith(f"/svc/{city.deep}")
    assert (request["method"], request["path"], request["status"]) == ("GET", "/deep", 200)
    assert (request["request_id"], request["denied"]) == (mine, False)
    assert "jane" not in line


def test_a_caller_that_is_refused_gets_403_and_the_log_names_it(city: City, stack: LiveStack) -> None:
    words = ["mesh", "tap", city.deep, "--denied", "--limit", "1", "--for", "60s", "--output", "json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "hms_nomad", *words], stdout=subprocess.PIPE, text=True, env=stack.environment
    )

    def refused() -> bool:
        ran = city.cli("call", "GET", f"{city.deep}/deep", "--as", "stranger")
        assert ran.exit_code == 8, ran.stderr
        return running.poll() is not None

    eventually(refused, seconds=60)
    request = json.loads(running.communicate()[0])["request"]
    assert request["caller_id"].endswith("/svc/stranger")
    assert (request["status"], request["denied"]) == (403, True)


def test_the_policy_in_force_is_that_of_the_spec_and_the_callers_sidecar_has_it(city: City) -> None:
    assert ask(city)[0]["deep"]
    spec = city.specs / f"{city.deep}.hms.json"
    for words in ((spec, "--for", city.front), (spec,), (city.deep,)):
        found = json.loads(city.cli("mesh", "explain", *words, "--output", "json").stdout)
        settings = {one["setting"]: one for one in found["settings"]}
        assert found["same"], settings
        assert settings["* /deep...: timeout"]["value"] == "60s"
        (caller,) = found["callers"]
        assert (caller["service"], caller["sync"], caller["refused"], caller["problem"]) == (
            city.front,
            "in sync",
            0,
            "",
        )
        assert caller["ejection"].startswith("3 failures in a row")
        assert len(caller["releases"]) == 1
    assert settings["connect timeout"]["given_by"] == [f"service-resolver {city.deep}"]


def test_a_tap_ends_in_time_where_nothing_comes(city: City) -> None:
    ran = city.cli("mesh", "tap", city.front, "--status", "5xx", "--for", "1s", "--output", "json")
    assert (ran.exit_code, ran.stdout) == (0, "")
