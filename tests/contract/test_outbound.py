"""The script by which a proxy sends more requests again at once than Envoy does by itself, in a real Envoy."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.compile.outbound import ADMIN_LAYER, ENVOYS_OWN, script
from hms_nomad.compile.tracing import cluster as collectors_cluster
from hms_nomad.compile.tracing import tracer
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Sidecar, Tracing
from tests.contract.envoy_server import EXTENSIONS, address, cluster, envoy_process, http_filter, listener
from tests.live.mesh.collector import Collector
from tests.processes import free_port
from tests.serving import serving
from tests.waiting import eventually

pytestmark = pytest.mark.contract

_CALLERS = 12


class Failing(http.server.ThreadingHTTPServer):
    """Answers the first tries with 503 as soon as all of them are there, and every later request with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.count, self.together = itertools.count(1), threading.Barrier(_CALLERS)


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Failing

    def do_GET(self) -> None:
        fails = self.path == "/work" and next(self.server.count) <= _CALLERS
        if fails:
            self.server.together.wait(30)
        self.send_response(503 if fails else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def app() -> Iterator[Failing]:
    with serving(Failing()) as server:
        yield server


def test_what_fails_at_once_is_sent_again_at_once(app: Failing, tmp_path: Path) -> None:
    with _front(app, tmp_path, Platform()) as port:
        assert _asked_at_once(port) == {200: _CALLERS}


def test_by_itself_envoy_sends_three_again_and_answers_the_others_as_they_failed(app: Failing, tmp_path: Path) -> None:
    assert script(Platform(sidecar=Sidecar(retries_at_once=ENVOYS_OWN))) == ""
    with _front(app, tmp_path, None) as port:
        assert _asked_at_once(port) == {200: ENVOYS_OWN, 503: _CALLERS - ENVOYS_OWN}


def test_what_the_proxy_asks_of_itself_is_no_part_of_anybodys_trace(app: Failing, tmp_path: Path) -> None:
    collector = Collector("127.0.0.1")
    tracing = Tracing(otlp=collector.url, sample=100)
    first, second = (uuid.uuid4().hex for _ in range(2))
    try:
        with _front(app, tmp_path, Platform(tracing=tracing), traceparent=f"00-{first}-b7ad6b7169203331-01") as port:
            _status(port, "/later", traceparent=f"00-{second}-b7ad6b7169203331-01")
            eventually(lambda: collector.of(second))
            assert [len(spans) for spans in collector.of(first).values()] == [1]
    finally:
        collector.close()


@contextlib.contextmanager
def _front(app: Failing, directory: Path, platform: Platform | None, **headers: str) -> Iterator[int]:
    """An Envoy before the app that sends again what was answered with 503; it has served one request."""
    port, admin = free_port(), free_port()
    with envoy_process(directory, _bootstrap(app.server_address[1], port, admin, platform), port):
        assert _status(port, "/first", **headers) == 200
        if platform:
            # The request that told Envoy does not wait for what it told.
            most = f"::default_priority::max_retries::{platform.sidecar.retries_at_once}\n".encode()
            assert eventually(lambda: most in _page(admin))
        yield port


def _asked_at_once(port: int) -> dict[int, int]:
    with ThreadPoolExecutor(_CALLERS) as callers:
        found = list(callers.map(lambda _: _status(port, "/work"), range(_CALLERS)))
    return {status: found.count(status) for status in sorted(set(found))}


def _status(port: int, path: str, **headers: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def _page(admin: int) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", admin, timeout=30)) as connection:
        connection.request("GET", "/clusters")
        return connection.getresponse().read()


def _bootstrap(app: int, port: int, admin: int, platform: Platform | None) -> dict[str, Any]:
    name = "r1.app.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul"
    clusters = [cluster(name, app), cluster("self_admin", admin)]
    # Tries wait for each other here, however fast a try begins again.
    slowly = {"base_interval": "0.5s", "max_interval": "0.5s"}
    again = {"retry_on": "gateway-error", "num_retries": 1, "retry_back_off": slowly}
    filters, more = [], {}
    if platform:
        lua = {"@type": f"{EXTENSIONS}.http.lua.v3.Lua", "default_source_code": {"inline_string": script(platform)}}
        filters.append({"name": "envoy.filters.http.lua", "typed_config": lua})
        if platform.tracing:
            more["tracing"] = {"provider": tracer(platform.tracing, "front")}
            clusters.append(collectors_cluster(platform.tracing))
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": name, "retry_policy": again}}]
    return {
        "admin": {"address": address(admin)},
        "layered_runtime": {"layers": [ADMIN_LAYER] if platform else []},
        "static_resources": {
            "clusters": clusters,
            "listeners": [listener("front", port, http_filter("front", routes, *filters, **more))],
        },
    }
