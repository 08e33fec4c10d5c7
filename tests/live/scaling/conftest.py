"""A platform with autoscaler, gateway and Prometheus on the live stack, and a service that burns CPU as asked."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Autoscaler, Platform, Telemetry
from hms_nomad.platform.model_proxies import Gateway
from hms_nomad.workflows.mesh.caller import operator_name
from tests.live.conftest import Cli, LiveStack, own_contexts, run_cli

APP = """
import http.server, os, time, urllib.parse

class Work(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        end = time.thread_time() + float(query.get("ms", ["0"])[0]) / 1000
        while time.thread_time() < end:
            pass
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Work).serve_forever()
"""
GATEWAY_PORT = 18947


class Load:
    """A load that runs beside the test; ``result`` waits for its end."""

    def __init__(self, stack: LiveStack, *arguments: str) -> None:
        self._answers: list[Any] = []
        self._thread = threading.Thread(
            target=lambda: self._answers.append(run_cli(stack, "load", *arguments, "--output", "json", seconds=150)),
            daemon=True,
        )
        self._thread.start()

    def result(self) -> dict[str, Any]:
        """What became of the requests."""
        self._thread.join(timeout=150)
        ran = self._answers[0]
        assert ran.stdout, ran.stderr
        figures: dict[str, Any] = json.loads(ran.stdout)["load"]
        return figures


@pytest.fixture(scope="package")
def installed(stack: LiveStack) -> Iterator[Callable[..., Platform]]:
    """Installs jobs of the platform, described by ``describe(telemetry=..., autoscaler=...)``; removed at the end."""
    for name in ("nomad-autoscaler", "prometheus"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on PATH")
    used: set[str] = set()

    def install(*jobs: str, **sections: Any) -> Platform:
        platform = stack.platform.changed(gateway=Gateway(port=GATEWAY_PORT), **sections)
        with own_contexts(stack.config_dir):
            save_context(platform)
        for job in jobs:
            used.add(job)
            ran = run_cli(stack, "platform", "install", job, "--timeout", "120s", seconds=150)
            assert ran.exit_code == 0, ran.stderr
        return platform

    yield install
    for job in used:
        run_cli(stack, "platform", "remove", job, "--force", seconds=150)
    with own_contexts(stack.config_dir):
        save_context(stack.platform)


@pytest.fixture
def platform(installed: Callable[..., Platform]) -> Platform:
    """Two autoscalers, a gateway, and a Prometheus that measures every two seconds."""
    return installed("autoscaler", "telemetry", "gateway", autoscaler=Autoscaler(), telemetry=Telemetry(every="2s"))


@pytest.fixture
def deployed(cli: Cli, tmp_path: Path, service: str) -> Iterator[Callable[..., str]]:
    """Deploys the service with the fields that are given, again for a change; its name is answered."""

    def deploy(**fields: Any) -> str:
        spec = {
            "name": service,
            "version": "1.0.0",
            "command": ["python3", "-c", APP],
            "port": 3000,
            "routes": [{"path": "/", "public": True}],
            "allow": [operator_name()],
            "health": {"path": "/", "interval": "2s"},
            "rollout": {"drain": "2s", "min_healthy": "1s"},
            **fields,
        }
        file = tmp_path / f"{service}.hms.yml"
        file.write_text(json.dumps(spec), encoding="utf-8")
        ran = cli("deploy", file)
        assert ran.exit_code == 0, ran.stderr
        return service

    yield deploy
    cli("stop", service, "--purge", "--yes")


@pytest.fixture
def load(stack: LiveStack) -> Callable[..., Load]:
    """Begins a load beside the test: ``load("name/path", "--rate", "20", "--for", "10s")``."""
    return lambda *arguments: Load(stack, *arguments)
