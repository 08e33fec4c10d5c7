"""The feed of events on the live stack: whole after it was killed and after its sink failed, with doubles marked."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Cli, LiveStack
from tests.waiting import eventually

Event = dict[str, Any]
ACCESS = "hms-nomad.access"


class Forgetful:
    """A server that keeps batches of events; of each three it refuses one, and keeps one without saying so."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.calls = 0
        outer = self

        class Take(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                batch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.calls += 1
                if outer.calls % 3 != 1:
                    outer.events += batch
                if outer.calls % 3 == 2:
                    self.close_connection = True
                    return
                self.send_response(503 if outer.calls % 3 == 1 else 202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/events"


@pytest.fixture
def forgetful() -> Iterator[Forgetful]:
    server = Forgetful()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def access_log(cli: Cli) -> Iterator[None]:
    assert cli("platform", "access-log", "on").exit_code == 0
    yield
    assert cli("platform", "access-log", "off").exit_code == 0


@pytest.fixture
def feed(stack: LiveStack) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts ``hms-nomad events --follow ARGUMENTS``."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "hms_nomad", "events", "--follow", *arguments]
        running.append(subprocess.Popen(words, env=stack.environment, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.communicate()


def of(events: list[Event], name: str) -> Counter[str]:
    """How many events of a service there are of each type, each event once."""
    return Counter(kind for kind, _ in {(one["type"], one["id"]) for one in events if one["subject"] == name})


def paths(events: list[Event], name: str) -> Counter[str]:
    """How many calls of a service there are of each path, each call once."""
    calls = {(one["data"]["path"], one["id"]) for one in events if one["subject"] == name and one["type"] == ACCESS}
    return Counter(path for path, _ in calls)


def unmarked_doubles(events: list[Event]) -> list[str]:
    first = Counter(one["id"] for one in events if not one.get("redelivered"))
    return [id_ for id_, count in first.items() if count > 1]


def numbers(events: list[Event]) -> list[int]:
    return sorted({int(one["sequence"]) for one in events})


def lines(file: Path) -> list[Event]:
    return [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def test_a_feed_into_a_file_is_whole_after_it_was_killed(
    access_log: None,
    deployed: Callable[..., str],
    load: Callable[..., Any],
    feed: Callable[..., Any],
    cli: Cli,
    tmp_path: Path,
):
    file = tmp_path / "events.ndjson"
    first = feed("--since", "1s", "--to", str(file))
    name = deployed(scaling={"min": 1, "max": 3})
    steady = load(f"{name}/?email=jane", "--rate", "40", "--for", "15s")
    refused = cli("call", "GET", f"http://{name}.mesh/", "--as", "stranger")
    assert refused.exit_code != 0
    eventually(lambda: of(lines(file), name)["hms-nomad.access"] if file.exists() else 0, lambda count: count > 0, 40)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert cli("scale", name, "2").exit_code == 0
    feed("--to", str(file))
    sent = steady.result()["requests"]
    wanted = {
        "hms-nomad.denied": 1,
        "hms-nomad.deploy.deployed": 1,
        "hms-nomad.certificate.issued": 2,
    }
    eventually(lambda: {kind: of(lines(file), name)[kind] for kind in wanted}, lambda found: found == wanted, 90)
    eventually(lambda: paths(lines(file), name)["/"], lambda count: count >= sent, 60)
    assert paths(lines(file), name)["/"] == sent
    # The autoscaler may have taken away again what was added by hand, and then tells of it too.
    eventually(lambda: of(lines(file), name)["hms-nomad.scaling"], lambda count: count in (1, 2), 60)
    events = lines(file)
    assert of(events, name)["hms-nomad.deployment.successful"] >= 1
    assert unmarked_doubles(events) == []
    assert numbers(events) == list(range(1, len(numbers(events)) + 1))
    access = next(one for one in events if one["type"] == "hms-nomad.access" and one["subject"] == name)
    assert access["data"]["caller"].startswith("spiffe://")
    assert access["data"]["callee"].endswith(f"/svc/{name}")
    assert "jane" not in json.dumps(events)


def test_a_feed_to_a_server_that_fails_now_and_then_is_whole_and_marks_doubles(
    access_log: None,
    deployed: Callable[..., str],
    load: Callable[..., Any],
    feed: Callable[..., Any],
    forgetful: Forgetful,
    tmp_path: Path,
):
    name = deployed(scaling={"min": 1, "max": 1})
    checkpoint = tmp_path / "at.json"
    feed("--since", "1s", "--kind", "access", "--to", forgetful.url, "--checkpoint", str(checkpoint))
    # From here on it knows since when it is to tell.
    eventually(Path(f"{checkpoint}.lock").exists)
    figures = load(f"{name}/", "--rate", "40", "--for", "15s").result()
    assert figures["failed"] == 0, figures
    sent = figures["requests"]
    eventually(lambda: of(forgetful.events, name)["hms-nomad.access"], lambda count: count >= sent, 60)
    assert paths(forgetful.events, name)["/"] == sent, paths(forgetful.events, name)
    assert forgetful.calls > 3
    assert any(one.get("redelivered") for one in forgetful.events)
    assert unmarked_doubles(forgetful.events) == []
    assert numbers(forgetful.events) == list(range(1, len(numbers(forgetful.events)) + 1))


def test_a_second_feed_with_the_same_checkpoint_is_refused(feed: Callable[..., Any], cli: Cli, tmp_path: Path):
    file = tmp_path / "events.ndjson"
    feed("--to", str(file))
    eventually(Path(f"{file}.checkpoint.lock").exists, seconds=20)
    ran = cli("events", "--to", str(file))
    assert ran.exit_code == 2
    assert "another process uses the checkpoint" in ran.stderr
    assert cli("events", "--to", "http://127.0.0.1:9/").exit_code == 2
