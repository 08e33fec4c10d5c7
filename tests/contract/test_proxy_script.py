"""The script that starts the platform's proxies, around a real Envoy: who is being answered gets the answer."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hms_nomad.platform.jobspecs import read_text
from tests.binaries import binary
from tests.contract.envoy_server import EXTENSIONS, address, cluster, http_filter, listener
from tests.processes import Server, accepts, free_port, running
from tests.serving import serving

pytestmark = pytest.mark.contract


class Slow(http.server.ThreadingHTTPServer):
    """Answers /wait when it is told to, anything else at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked, self.told = threading.Semaphore(0), threading.Event()


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Slow

    def do_GET(self) -> None:
        if self.path == "/wait":
            self.server.asked.release()
            self.server.told.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def app() -> Iterator[Slow]:
    with serving(Slow()) as server:
        yield server


def _manager(prefix: str, name: str) -> dict[str, Any]:
    return http_filter(prefix, [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}])


class Proxy:
    """An Envoy behind the script: ``http`` and ``tcp`` lead to the app, ``telemetry`` to its own page."""

    def __init__(self, app: Slow) -> None:
        self.http, self.tcp, self.telemetry, self.admin = (free_port() for _ in range(4))
        tcp = {"@type": f"{EXTENSIONS}.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "db", "cluster": "app"}
        self.bootstrap = {
            "admin": {"address": address(self.admin)},
            "static_resources": {
                "clusters": [cluster("app", app.server_address[1]), cluster("self_admin", self.admin)],
                "listeners": [
                    listener("front", self.http, _manager("front", "app")),
                    listener("db", self.tcp, {"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp}),
                    listener("telemetry", self.telemetry, _manager("telemetry", "self_admin")),
                ],
            },
        }

    def page(self, path: str) -> int:
        """The status of a page as Consul and Prometheus read it."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.telemetry, timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status


@pytest.fixture
def start(app: Slow, tmp_path: Path) -> Iterator[Callable[[int], tuple[Proxy, Server]]]:
    """Starts a proxy whose connections get so many seconds."""
    stops = []

    def make(seconds: int) -> tuple[Proxy, Server]:
        proxy = Proxy(app)
        file, script = tmp_path / "envoy.json", tmp_path / "proxy.sh"
        file.write_text(json.dumps(proxy.bootstrap))
        script.write_text(read_text("proxy.sh"))
        command = ["/bin/bash", str(script), str(seconds), binary("envoy"), "-c", str(file), "--disable-hot-restart"]
        ports = {"NOMAD_PORT_admin": str(proxy.admin), "NOMAD_PORT_telemetry": str(proxy.telemetry)}
        server = running(command, tmp_path, ports)
        stops.append(server)
        begun = server.__enter__()
        begun.wait_until(lambda: accepts(proxy.telemetry), "listening")
        return proxy, begun

    yield make
    app.told.set()
    for server in stops:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_being_answered_is_answered_and_nobody_new_gets_in(
    app: Slow, start: Callable[[int], tuple[Proxy, Server]], number: signal.Signals
) -> None:
    proxy, server = start(60)
    kept = http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=30)
    kept.request("GET", "/")
    kept.getresponse().read()
    kept.request("GET", "/wait")
    assert app.asked.acquire(timeout=30)

    server.process.send_signal(number)
    server.wait_until(lambda: not accepts(proxy.http), "closed")
    assert server.process.poll() is None
    app.told.set()
    answer = kept.getresponse()
    assert (answer.status, answer.read(), answer.getheader("connection")) == (200, b"done", "close")
    kept.close()
    assert server.process.wait(30) == 0


def test_a_request_on_a_connection_that_was_idle_is_answered_too(
    app: Slow, start: Callable[[int], tuple[Proxy, Server]]
) -> None:
    proxy, server = start(60)
    idle, busy = (http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=30) for _ in range(2))
    idle.request("GET", "/")
    idle.getresponse().read()
    busy.request("GET", "/wait")
    assert app.asked.acquire(timeout=30)

    server.process.terminate()
    server.wait_until(lambda: not accepts(proxy.http), "closed")
    idle.request("GET", "/")
    assert idle.getresponse().getheader("connection") == "close"
    app.told.set()
    assert busy.getresponse().status == 200
    assert server.process.wait(30) == 0
    idle.close()
    busy.close()


def test_a_connection_of_tcp_gets_all_of_the_time_and_no_more(
    app: Slow, start: Callable[[int], tuple[Proxy, Server]]
) -> None:
    proxy, server = start(7)
    with socket.create_connection(("127.0.0.1", proxy.tcp), timeout=30) as open_, open_.makefile("rb") as answers:

        def ask() -> bytes:
            open_.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            while answers.readline() != b"\r\n":
                pass
            return answers.read(4)

        assert ask() == b"done"
        server.process.terminate()
        server.wait_until(lambda: not accepts(proxy.tcp), "closed")
        assert server.process.poll() is None
        assert ask() == b"done"
        assert server.process.wait(30) == 0


def test_envoys_own_end_is_that_of_the_task(start: Callable[[int], tuple[Proxy, Server]]) -> None:
    proxy, server = start(60)
    assert proxy.page("/ready") == 200
    (envoy,) = psutil.Process(server.process.pid).children()
    envoy.kill()
    assert server.process.wait(30) == 128 + signal.SIGKILL
