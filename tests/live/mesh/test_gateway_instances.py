"""Several instances of the gateway behind one address of one node: each works, and one that ends is not missed."""

from __future__ import annotations

import http.client
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hms_nomad.clients.prometheus_text import parse_metrics
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, Ran
from tests.live.mesh.test_mesh import ask, body_of, deploy
from tests.waiting import eventually

NAME = "wide-gateway"
CONTEXT = "wide"
ROUTES = [{"path": "/open", "methods": ["GET"], "match": "exact", "public": True}]


@dataclass(frozen=True)
class Wide:
    """A gateway of two instances on one node, and the URL of a route through it."""

    cli: Cli
    url: str

    def instances(self) -> list[dict]:
        """Its instances as ``gateway status`` shows them."""
        return list(body_of(self.cli("gateway", "status", "-o", "json"))["gateway"]["instances"])


@pytest.fixture(scope="module")
def wide(stack: LiveStack, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wide]:
    """The gateway, and a service behind it."""
    context = stack.platform.model_dump(mode="json", exclude_defaults=True)
    context["gateway"] = {"name": NAME, "port": 8090, "instances": 2, "per_node": 2}
    file = stack.config_dir / "contexts" / f"{CONTEXT}.yml"
    file.write_text(yaml.safe_dump(context))

    def wide_cli(*words: str | Path) -> Ran:
        return cli(*words, HMS_NOMAD_CONTEXT=CONTEXT)

    installed = wide_cli("platform", "install", "gateway")
    assert installed.stdout == f"✓ {NAME} runs (2 healthy instances)\n", installed.stderr
    name = deploy(wide_cli, tmp_path_factory.mktemp("specs"), f"wide-{uuid.uuid4().hex[:8]}", ROUTES)
    yield Wide(wide_cli, body_of(wide_cli("gateway", "routes", "-o", "json"))["routes"][0]["url"])
    wide_cli("stop", name, "--purge", "--yes")
    assert wide_cli("platform", "remove", "gateway", "--force").exit_code == 0
    file.unlink()


def test_they_share_one_address_and_connections_come_to_each(wide: Wide, session: Session) -> None:
    first, second = wide.instances()
    assert first["address"] == second["address"]
    assert first["own"] != second["own"]
    assert wide.url == f"http://{first['address']}/open"
    for one in (first, second):
        assert ask(f"http://{one['own']}/open")[0] == 200
    before = _requests_of(session)
    assert [ask(wide.url)[0] for _ in range(60)] == [200] * 60
    after = _requests_of(session)
    assert all(after[id_] > before[id_] for id_ in before), (before, after)


def test_one_that_ends_is_not_missed_and_comes_back(wide: Wide, session: Session) -> None:
    first, second = wide.instances()
    whole = next(one.id for one in session.nomad.job_allocations(NAME).value if one.id.startswith(first["instance"]))
    session.nomad.stop_allocation(whole)
    lost = 0

    def replaced() -> bool:
        nonlocal lost
        lost += sum(_lost(wide.url) for _ in range(20))
        now = {one["instance"] for one in wide.instances() if one["status"] == "passing"}
        return len(now) == 2 and first["instance"] not in now

    eventually(replaced)
    assert lost == 0
    assert second["instance"] in {one["instance"] for one in wide.instances()}
    assert ask(f"http://{second['own']}/open")[0] == 200


def _lost(url: str) -> bool:
    """Whether a request is lost to a client that repeats it once: a connection may end with its instance."""
    for _ in range(2):
        try:
            if ask(url)[0] == 200:
                return False
        except (OSError, http.client.HTTPException):
            continue
    return True


def _requests_of(session: Session) -> dict[str, float]:
    """Requests that came in, by instance."""
    found = {}
    for one in session.consul.instances(NAME).value:
        with urllib.request.urlopen(f"http://{one.meta['telemetry']}/metrics", timeout=10) as page:
            metrics = parse_metrics(page.read().decode())
        found[one.id] = sum(
            metric.count
            for metric in metrics
            if metric.name == "envoy_http_downstream_rq_total"
            and metric.labels.get("envoy_http_conn_manager_prefix") == "front"
        )
    return found
