"""Several instances of the gateway behind one address of one node: each works, and one that ends is not missed."""

from __future__ import annotations

import contextlib
import http.client
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from hms_nomad.clients.prometheus_text import parse_metrics
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack, Ran
from tests.live.mesh.test_mesh import ask, body_of, deploy
from tests.waiting import eventually

NAME = "wide-gateway"
CONTEXT = "wide"
ROUTES = [{"path": "/open", "methods": ["GET"], "match": "exact", "public": True}]
_APP = """
import http.server, os, time

class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        time.sleep(2 if self.path.endswith("?slow") else 0)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), App).serve_forever()
"""


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
    context = as_data(stack.platform, defaults=False)
    context["gateway"] = {"name": NAME, "port": 8090, "instances": 2, "per_node": 2}
    file = stack.config_dir / "contexts" / f"{CONTEXT}.yml"
    file.write_text(yaml.safe_dump(context))

    def wide_cli(*words: str | Path) -> Ran:
        return cli(*words, HMS_NOMAD_CONTEXT=CONTEXT)

    installed = wide_cli("platform", "install", "gateway")
    assert installed.stdout == f"✓ {NAME} runs (2 healthy instances)\n", installed.stderr
    command = ["python3", "-c", _APP]
    folder = tmp_path_factory.mktemp("specs")
    name = deploy(wide_cli, folder, f"wide-{uuid.uuid4().hex[:8]}", ROUTES, command=command)
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


def test_one_that_stops_loses_nothing_that_it_answers_and_comes_back(wide: Wide, session: Session) -> None:
    first, second = wide.instances()
    whole = next(one.id for one in session.nomad.job_allocations(NAME).value if one.id.startswith(first["instance"]))

    def replaced() -> bool:
        now = {one["instance"] for one in wide.instances() if one["status"] == "passing"}
        return len(now) == 2 and first["instance"] not in now

    with Patient(wide.url, slow=16, fast=4) as clients:
        eventually(clients.answers_of_each)
        session.nomad.stop_allocation(whole)
        eventually(replaced)
        eventually(lambda: session.nomad.read_allocation(whole).done)
        eventually(clients.answers_of_each)
    assert clients.lost == []
    assert second["instance"] in {one["instance"] for one in wide.instances()}
    assert ask(f"http://{second['own']}/open")[0] == 200


class Patient:
    """Clients that keep their connections and never ask twice: ``slow`` ones are answered after two seconds, ``fast``
    ones at once.
    """

    def __init__(self, url: str, slow: int, fast: int) -> None:
        self.lost: list[str] = []
        self._where = urlsplit(url)
        self._over = threading.Event()
        self._answers = [0] * (slow + fast)
        self._clients = [
            threading.Thread(target=self._ask, args=(number, "?slow" if number < slow else ""))
            for number in range(slow + fast)
        ]

    def answers_of_each(self) -> bool:
        """Whether each got another answer since this was true last."""
        if not all(self._answers):
            return False
        self._answers = [0] * len(self._answers)
        return True

    def __enter__(self) -> Patient:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join()

    def _ask(self, number: int, query: str) -> None:
        with contextlib.closing(http.client.HTTPConnection(self._where.netloc, timeout=30)) as kept:
            while not self._over.is_set():
                try:
                    kept.request("GET", self._where.path + query)
                    answer = kept.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.lost.append(f"{query} {error!r}")
                    kept.close()
                    continue
                self._answers[number] += 1
                if answer.status != HTTPStatus.OK:
                    self.lost.append(f"{query} {answer.status}")


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
