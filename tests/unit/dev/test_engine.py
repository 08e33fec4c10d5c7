from __future__ import annotations

import http.server
import io
import json
import socketserver
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from hms_nomad.clients import engine_socket
from hms_nomad.dev import engine as module
from hms_nomad.dev.engine import (
    ALLOCATION_LABEL,
    Container,
    Engine,
    allocation_containers,
    build_image,
    find_engine,
    has_image,
    remove_container,
    remove_image,
)
from hms_nomad.dev.errors import StackError
from hms_nomad.dev.leftovers import remove_containers
from hms_nomad.dev.pause import ensure_image


class FakeEngine:
    """An engine in memory behind a real socket: images with the names in their build context, and containers."""

    def __init__(self) -> None:
        self.images: dict[str, list[str]] = {}
        self.containers: dict[str, dict[str, Any]] = {}
        self.refusal = ""

    def add_container(self, number: str, labels: dict[str, str]) -> None:
        self.containers[number] = {"Id": number, "Names": [f"/app-{number}"], "Labels": labels}

    def answer(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Status and answer: one document, or several, each on a line of its own."""
        match method, path:
            case "GET", ["version"]:
                found: tuple[int, Any] = 200, {"Version": "27.0"}
            case "POST", ["build"]:
                found = 200, [{"stream": "Step 1"}, self._build(query["t"][0], body)]
            case "GET", ["images", name, "json"]:
                found = 200 if name in self.images else 404, {}
            case "DELETE", ["images", name]:
                found = 200 if self.images.pop(name, None) else 404, {}
            case "GET", ["containers", "json"] if query["all"] == ["true"]:
                label = json.loads(query["filters"][0])["label"][0]
                found = 200, [[row for row in self.containers.values() if label in row["Labels"]]]
            case "DELETE", ["containers", name]:
                found = 204 if self.containers.pop(name, None) else 404, []
            case _:
                found = 500, "unexpected"
        return found

    def _build(self, image: str, context: bytes) -> dict[str, str]:
        if self.refusal:
            return {"error": self.refusal}
        with tarfile.open(fileobj=io.BytesIO(context)) as archive:
            self.images[image] = sorted(archive.getnames())
        return {"stream": "done"}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    found = FakeEngine()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = [unquote(part) for part in parts.path.strip("/").split("/")]
            status, answer = found.answer(self.command, path, parse_qs(parts.query), body)
            documents = answer if isinstance(answer, list) else [answer]
            text = "\n".join(json.dumps(document) for document in documents)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    for method in ("do_POST", "do_DELETE"):
        setattr(Handler, method, Handler.do_GET)
    path = tmp_path / "docker.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(fake: FakeEngine) -> Engine:
    found = find_engine()
    assert found is not None
    return found


def test_an_engine_is_found_by_its_socket_with_its_version(engine: Engine) -> None:
    assert engine.version == "27.0"
    assert engine.socket.name == "docker.sock"


@pytest.mark.parametrize("host", ["unix:///no/such/socket", "tcp://127.0.0.1:2375", "ssh://far"])
def test_an_engine_that_does_not_answer_on_this_machine_is_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)

    assert find_engine() is None


def test_without_a_setting_the_usual_sockets_are_tried(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(engine_socket, "_SOCKETS", ("/no/such/socket", str(engine.socket)))

    assert find_engine() == engine


def test_the_pause_image_is_built_once_and_built_again_after_somebody_removed_it(
    fake: FakeEngine, engine: Engine
) -> None:
    assert ensure_image(engine, "hms-nomad/dev-pause:1")
    assert fake.images == {"hms-nomad/dev-pause:1": ["Dockerfile", "pause"]}
    fake.images["hms-nomad/dev-pause:1"] = ["kept"]

    assert ensure_image(engine, "hms-nomad/dev-pause:1")
    assert fake.images == {"hms-nomad/dev-pause:1": ["kept"]}

    assert remove_image(engine, "hms-nomad/dev-pause:1")
    assert not remove_image(engine, "hms-nomad/dev-pause:1")
    assert not has_image(engine, "hms-nomad/dev-pause:1")
    assert ensure_image(engine, "hms-nomad/dev-pause:1")


def test_a_build_that_fails_says_why(fake: FakeEngine, engine: Engine) -> None:
    fake.refusal = "no space left on device"

    with pytest.raises(StackError, match="cannot build a/b:1: no space left on device"):
        build_image(engine, "a/b:1", b"")


def test_an_engine_that_refuses_is_named_with_its_words(engine: Engine) -> None:
    with pytest.raises(StackError, match=r"docker\.sock refuses GET /images/x/y/json: \"unexpected\""):
        module._call(engine.socket, "GET", "/images/x/y/json")


def test_only_containers_of_the_stacks_allocations_are_removed(fake: FakeEngine, engine: Engine) -> None:
    fake.add_container("1", {ALLOCATION_LABEL: "ours"})
    fake.add_container("2", {ALLOCATION_LABEL: "of another nomad"})
    fake.add_container("3", {"maintainer": "somebody"})

    assert allocation_containers(engine) == (
        Container("1", "app-1", "ours"),
        Container("2", "app-2", "of another nomad"),
    )
    assert remove_containers(frozenset({"ours"})) == ("app-1",)
    assert set(fake.containers) == {"2", "3"}
    remove_container(engine, Container("1", "app-1", "ours"))
