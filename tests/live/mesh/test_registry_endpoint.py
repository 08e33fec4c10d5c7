"""The registry over HTTP as a job of the platform: found in the catalog, never silently old."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import RegistryEndpoint
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, own_contexts
from tests.live.mesh.test_mesh import deploy
from tests.live.rollouts.program import this_program
from tests.tcp_relay import Relay
from tests.waiting import eventually


@dataclass(frozen=True)
class Answer:
    """What the endpoint said."""

    status: int
    index: str
    stale: str
    body: dict[str, Any]


Ask = Callable[[str], Answer]


@pytest.fixture(scope="module")
def way(stack: LiveStack) -> Iterator[Relay]:
    """The endpoint's way to Consul, which can be cut while everything else goes on."""
    with Relay(urlsplit(stack.platform.consul.address).port or 0) as relay:
        yield relay


@pytest.fixture(scope="module")
def ask(
    stack: LiveStack, cli: Cli, session: Session, way: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ask]:
    """Asks the installed endpoint, at the place where Consul's catalog says that it is."""
    consul = stack.platform.consul.changed(address=f"http://127.0.0.1:{way.port}")
    section = RegistryEndpoint(command=str(this_program(tmp_path_factory.mktemp("program"))), consul=consul)
    with own_contexts(stack.config_dir):
        save_context(stack.platform.changed(registry=section))
    try:
        ran = cli("platform", "install", "registry")
        assert ran.exit_code == 0, ran.stderr
        (instance,) = session.consul.instances("hms-registry", passing=True).value

        def asked(path: str) -> Answer:
            connection = http.client.HTTPConnection(instance.address, instance.port, timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            connection.close()
            headers = [answer.getheader(name) or "" for name in ("X-Registry-Index", "X-Registry-Stale")]
            return Answer(answer.status, headers[0], headers[1], body)

        yield asked
    finally:
        cli("platform", "remove", "registry", "--force")
        with own_contexts(stack.config_dir):
            save_context(stack.platform)


def test_a_workflow_asks_where_the_next_task_is_and_hears_of_its_end(
    ask: Ask, cli: Cli, way: Relay, tmp_path: Path, service: str
) -> None:
    missing = ask(f"/v1/services/{service}")
    assert missing.status == 404
    with ThreadPoolExecutor() as pool:
        awaited = pool.submit(ask, f"/v1/services/{service}?index={missing.index}&wait=55s")
        deploy(cli, tmp_path, service, [{"path": "/work", "methods": ["POST"]}], owner="tax-team")
        assert awaited.result(60).status == 200
    found = eventually(
        lambda: ask(f"/v1/services/{service}"), lambda answer: answer.body["service"]["healthy"] == 1, 30
    )
    told = found.body["service"]
    assert (told["version"], told["owner"], told["url"]) == ("1.0.0", "tax-team", f"http://{service}.mesh/work")
    assert told["release"]
    assert told["routes"] == [{"path": "/work", "match": "prefix", "methods": ["POST"]}]
    assert told["endpoints"][0]["status"] == "passing"
    assert (found.stale, found.body["stale"]) == ("false", False)
    assert service in [one["name"] for one in ask("/v1/services").body["services"]]
    assert "hms-registry" in cli("platform", "status").stdout

    # Consul goes away in the middle of a wait: the answer is the last one, and says so; what comes back is fresh.
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, f"/v1/services/{service}?index={found.index}&wait=50s")
        way.block()
        old = waiting.result(60)
    assert (old.stale, old.body["stale"], old.body["service"]) == ("true", True, told)
    assert "Consul cannot be asked" in old.body["reason"]
    assert ask("/health").body["stale"] is True
    cli("stop", service, "--purge", "--yes")
    assert ask(f"/v1/services/{service}").body["service"] == told
    way.unblock()
    # An answer is stale as long as one of the questions that it is made of has not come through again.
    eventually(
        lambda: ask(f"/v1/services/{service}"), lambda answer: (answer.status, answer.stale) == (404, "false"), 30
    )
