"""The registry over HTTP, on a real server: what is answered, what waits for news, and what says that it is old."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import uvicorn

from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.compile import compile_spec
from hms_nomad.endpoint import mirror as mirrors
from hms_nomad.endpoint.app import RegistryApp
from hms_nomad.endpoint.mirror import Mirror
from hms_nomad.endpoint.server import listen
from hms_nomad.platform.model import Platform
from hms_nomad.registry import Registry
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session, sidecar
from tests.waiting import eventually

A = "aaaaaaaa-1111-2222-3333-444444444444"
B = "bbbbbbbb-1111-2222-3333-444444444444"


@dataclass
class FollowedConsul(FakeConsul):
    """Its blocking queries end when it is changed, goes away or comes back; ``hangs`` lets them never end."""

    index: int = 1
    away: bool = False
    hangs: bool = False
    moved: threading.Condition = field(default_factory=threading.Condition)

    def change(self, **fields: object) -> None:
        with self.moved:
            for name, value in fields.items():
                setattr(self, name, value)
            self.index += 1
            self.moved.notify_all()

    def instances(self, name, connect=False, **options):
        self._ask("instances")
        return super().instances(name, connect, **options)

    def list_entries(self, kind):
        self._ask(f"list {kind}")
        return super().list_entries(kind)

    def services(self, index=0, wait=0.0):
        return self._wait(index, wait)

    def watch_checks(self, index=0, wait=0.0):
        return self._wait(index, wait)

    def watch_entries(self, kind, index=0, wait=0.0):
        return self._wait(index, wait)

    def _wait(self, index, wait):
        with self.moved:
            if index and not self.away:
                self.moved.wait_for(lambda: self.index != index and not self.hangs, None if self.hangs else wait)
            self._ask("wait")
            return Snapshot(self.index, ())

    def _ask(self, what):
        if self.away:
            raise UnavailableError("consul", what, "http://consul", "no connection: Connection refused")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(mirrors, "_QUERY_SECONDS", 0.2)
    monkeypatch.setattr(mirrors, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(mirrors, "_RETRY_SECONDS", 0.05)


@pytest.fixture
def consul() -> FollowedConsul:
    found = FollowedConsul()
    desired = compile_spec(spec(owner="tax-team"), Platform())
    for entry in desired.entries:
        found.store(entry.kind, entry.name, entry.body)
    meta = dict(desired.job["TaskGroups"][0]["Services"][0]["Meta"])
    found.sidecars = [sidecar(A, "receipt-svc", **meta)]
    return found


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self):
        return json.loads(self.text)

    @property
    def index(self) -> str:
        return self.headers["x-registry-index"]


@pytest.fixture
def ask(consul) -> Iterator:
    """Asks a running endpoint: ``ask("/v1/services")``."""
    listener = listen("127.0.0.1", 0)
    app = RegistryApp(Mirror(Registry(session(FakeNomad(), consul)), consul))
    server = uvicorn.Server(uvicorn.Config(app.asgi(), log_level="critical", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]

    def asked(path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        found = Answer(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        )
        connection.close()
        return found

    asked.close = app.close
    if not consul.away:
        eventually(lambda: asked("/health"), lambda answer: answer.status == 200)
    yield asked
    consul.change(hangs=False)
    app.close()
    server.should_exit = True
    thread.join(20)
    listener.close()
    assert not thread.is_alive()


def test_a_service_is_said_as_the_registry_knows_it(ask):
    answer = ask("/v1/services/receipt-svc")
    assert answer.status == 200
    service = answer.body["service"]
    assert (service["name"], service["version"], service["url"]) == (
        "receipt-svc",
        "1.0.0",
        "http://receipt-svc.mesh/receipt",
    )
    assert (service["owner"], service["healthy"], service["gateway_urls"]) == ("tax-team", 1, [])
    assert service["routes"][0]["path"] == "/receipt"
    assert service["release"]
    assert answer.body["schema"] == "hms-nomad/registry-service/v1"
    assert answer.body["stale"] is False
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-registry-stale"] == "false"
    assert int(answer.headers["age"]) <= 10


def test_all_services_are_listed(ask):
    assert [one["name"] for one in ask("/v1/services").body["services"]] == ["receipt-svc"]
    assert ask("/health").body["services"] == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/services/nobody", 404),
        ("GET", "/", 404),
        ("GET", "/v1/services/", 404),
        ("GET", "/v1/services/a/b", 404),
        ("POST", "/v1/services", 405),
        ("DELETE", "/v1/services/receipt-svc", 405),
        ("GET", "/v1/services?owner=me", 400),
        ("GET", "/v1/services?index=1&index=2", 400),
        ("GET", "/v1/services?wait=5s", 400),
        ("GET", "/v1/services?index=1&wait=soon", 400),
        ("GET", "/v1/services?index=1&wait=6m", 400),
        ("GET", "/health?index=1", 400),
    ],
)
def test_errors_are_json_with_the_requests_id(ask, method, path, status):
    answer = ask(path, method, **{"X-Request-Id": "abc-1"})
    assert answer.status == status
    assert answer.body["status"] == status
    assert answer.body["error"]
    assert answer.body["request_id"] == answer.headers["x-request-id"] == "abc-1"
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)


def test_head_has_the_headers_alone(ask):
    answer = ask("/v1/services/receipt-svc", "HEAD")
    assert (answer.status, answer.text) == (200, "")
    assert answer.index == ask("/v1/services/receipt-svc").index


def test_an_id_that_nobody_may_send_is_replaced(ask):
    answer = ask("/v1/services", **{"X-Request-Id": "a b"})
    assert answer.headers["x-request-id"] != "a b"


def test_who_knows_the_last_answer_waits_for_the_next(ask, consul):
    known = ask("/v1/services/receipt-svc").index
    quiet = ask(f"/v1/services/receipt-svc?index={known}&wait=0s")
    assert quiet.index == known
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, f"/v1/services/receipt-svc?index={known}&wait=30s")
        assert not waiting.done()
        consul.change(sidecars=[*consul.sidecars, sidecar(B, "receipt-svc", release="r2")])
        news = waiting.result(20)
    assert news.body["service"]["healthy"] == 2
    assert news.index != known
    assert ask(f"/v1/services/receipt-svc?index={known}").index == news.index


def test_a_service_can_be_waited_for_before_it_is_there(ask, consul):
    missing = ask("/v1/services/tax-svc")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, f"/v1/services/tax-svc?index={missing.index}&wait=30s")
        desired = compile_spec(spec(name="tax-svc"), Platform())
        for entry in desired.entries:
            consul.store(entry.kind, entry.name, entry.body)
        consul.change()
        assert waiting.result(20).body["service"]["name"] == "tax-svc"


def test_while_consul_is_away_every_answer_says_so(ask, consul):
    known = ask("/v1/services/receipt-svc")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, f"/v1/services/receipt-svc?index={known.index}&wait=30s")
        consul.change(away=True)
        told = waiting.result(20)
    assert (told.status, told.body["stale"], told.headers["x-registry-stale"]) == (200, True, "true")
    assert told.body["reason"] == "Consul cannot be asked: no connection: Connection refused"
    assert told.body["service"] == known.body["service"]
    assert ask("/health").body["stale"] is True
    back = f"/v1/services/receipt-svc?index={told.index}&wait=30s"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, back)
        consul.change(away=False)
        fresh = waiting.result(20)
    assert (fresh.body["stale"], fresh.body["reason"], fresh.index) == (False, "", known.index)


def test_what_nothing_confirms_gets_stale_by_itself(ask, consul, monkeypatch):
    monkeypatch.setattr(mirrors, "STALE_SECONDS", 1.0)
    known = ask("/v1/services/receipt-svc").index
    consul.change(hangs=True)
    fresh = eventually(lambda: ask("/v1/services/receipt-svc"), lambda answer: not answer.body["stale"])
    told = ask(f"/v1/services/receipt-svc?index={fresh.index}&wait=30s")
    assert told.body["stale"] is True
    assert "confirmed nothing" in told.body["reason"]
    assert told.index == f"{known}-stale"


class TestBeforeTheFirstAnswerOfConsul:
    @pytest.fixture
    def consul(self):
        return FollowedConsul(away=True)

    def test_nothing_is_made_up(self, ask, consul):
        answer = eventually(lambda: ask("/v1/services"), lambda found: "Connection refused" in found.body["error"])
        assert answer.status == 503
        assert answer.headers["retry-after"] == "2"
        assert ask("/health").status == 503
        consul.change(away=False)
        assert eventually(lambda: ask("/v1/services"), lambda found: found.status == 200).body["services"] == []


def test_who_waits_is_answered_when_the_endpoint_ends(ask):
    known = ask("/v1/services").index
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, f"/v1/services?index={known}&wait=5m")
        ask.close()
        assert waiting.result(20).index == known
