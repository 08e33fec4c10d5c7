"""The real autoscaler: out and in again with the load, held, killed in the middle, unmoved by poisoned figures."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hms_nomad.clients.consul_types import ExternalService
from hms_nomad.clients.nomad_types import GroupScale
from hms_nomad.platform.model import Autoscaler, Platform, Telemetry
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.waiting import eventually

EAGER = {"min": 2, "max": 4, "every": "5s", "cooldown": "5s"}
POISON = "hms-poison"


def scale_of(session: Session, name: str) -> GroupScale:
    found = session.nomad.scale_status(name)
    assert found is not None
    return found["app"]


def explained(cli: Cli, name: str) -> dict[str, Any]:
    ran = cli("scale", "explain", name, "--output", "json")
    assert ran.exit_code == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)["scaling"]
    return found


def until(session: Session, name: str, good: Callable[[int], bool], seconds: float = 120.0) -> int:
    """The count that Nomad wants, once it is good."""
    return eventually(lambda: scale_of(session, name).desired, good, seconds)


def test_a_load_brings_instances_and_its_end_takes_them_away_without_a_failed_request(
    platform: Platform, session: Session, deployed: Callable[..., str], load: Callable[..., Any]
):
    name = deployed(scaling=EAGER)
    heavy = load(f"{name}/?ms=25", "--rate", "20", "--for", "25s")
    until(session, name, lambda count: count > 2)
    grown = heavy.result()
    assert grown["failed"] == 0, grown
    light = load(f"{name}/", "--rate", "20", "--for", "40s")
    until(session, name, lambda count: count == 2)
    shrunk = light.result()
    assert shrunk["failed"] == 0, shrunk
    events = [event for event in reversed(scale_of(session, name).events) if event.count is not None]
    assert all(2 <= (event.count or 0) <= 4 for event in events)
    ups = [(event.count or 0) > event.previous_count for event in events]
    assert ups == sorted(ups, reverse=True), f"the count flapped: {events}"


def test_a_held_count_stays_through_a_deploy_and_goes_back_when_it_is_let_go(
    platform: Platform, session: Session, deployed: Callable[..., str], cli: Cli
):
    name = deployed(scaling=EAGER)
    held = cli("scale", name, "3", "--hold", "1h")
    assert (held.exit_code, "held until" in held.stdout) == (0, True), held.stderr
    deployed(scaling=EAGER, owner="tax-team")
    why = explained(cli, name)
    assert (why["count"], "held until" in why["hindrance"]) == (3, True)
    assert cli("scale", name, "--auto").exit_code == 0
    until(session, name, lambda count: count == 2)


def test_a_count_by_hand_stays_within_the_bounds_of_the_spec(
    platform: Platform, session: Session, deployed: Callable[..., str], cli: Cli
):
    name = deployed(scaling={"min": 2, "max": 3})
    ran = cli("scale", name, "9")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "runs between 2 and 3 instances" in ran.stderr
    assert cli("scale", "no-such-service", "2").exit_code == 2
    # With room below, the autoscaler itself would take one away again before anybody looks.
    assert cli("scale", name, "3", "--hold", "1h").exit_code == 0
    assert "3 instances, held until" in cli("scale", name, "3").stdout
    assert cli("scale", name, "--auto").exit_code == 0
    # Given back, the one too many goes; a deploy at that very moment would lose to it.
    until(session, name, lambda count: count == 2)
    deployed(scaling={"min": 2, "max": 2})
    assert explained(cli, name)["count"] == 2


def test_scaling_goes_on_after_the_autoscalers_were_killed(
    platform: Platform, session: Session, deployed: Callable[..., str], cli: Cli
):
    name = deployed(scaling=EAGER)
    assert platform.autoscaler is not None
    for one in session.nomad.job_allocations(platform.autoscaler.name).value:
        if one.client_status == "running":
            session.nomad.signal_allocation(one.id, "SIGKILL", "app")
    assert cli("scale", name, "4").exit_code == 0
    until(session, name, lambda count: count == 2)


class Poisoned:
    """A Prometheus that answers each query with the same value, and counts the queries."""

    def __init__(self) -> None:
        self.value: str | None = None
        self.asked = 0
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                outer.asked += 1
                row = {"metric": {}, "value": [1795555018, outer.value]}
                result = [row] if outer.value is not None else []
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture
def poisoned(installed: Callable[..., Platform], session: Session) -> Iterator[Poisoned]:
    """A false Prometheus, which the autoscaler finds by the catalog as it finds the real one."""
    poison = Poisoned()
    session.consul.catalog_register(ExternalService(POISON, "127.0.0.1", POISON, POISON, poison.port))
    installed("autoscaler", autoscaler=Autoscaler(), telemetry=Telemetry(name=POISON))
    yield poison
    session.consul.catalog_deregister(POISON)
    poison.server.shutdown()
    poison.server.server_close()


def test_a_poisoned_figure_moves_nothing(poisoned: Poisoned, session: Session, deployed: Callable[..., str], cli: Cli):
    name = deployed(scaling={**EAGER, "latency_p99": "500ms"}, mesh={"timeout": "5s"})
    for value in ("NaN", None, "1e9", "-5"):
        poisoned.value = value
        seen = poisoned.asked
        eventually(lambda seen=seen: poisoned.asked, lambda asked, seen=seen: asked >= seen + 3, 90)
        assert scale_of(session, name).desired == 2, f"{value} moved the count"
    poisoned.value = "900"
    until(session, name, lambda count: count > 2)
