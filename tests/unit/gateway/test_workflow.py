"""What is said of the gateway and its routes, from what Consul holds; and what a nudge may touch."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from hms_nomad.apply.write import nudge_route, write_routes
from hms_nomad.clients.consul_types import Condition, Instance
from hms_nomad.clients.errors import DeadlineExceededError, UnavailableError
from hms_nomad.clients.http_call import Answer
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.compile import compile_spec
from hms_nomad.plan.change import Action, Change
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Gateway
from hms_nomad.workflows.platform import gateway as workflow
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session

PUBLIC = [{"path": "/receipt", "methods": ["POST"], "match": "exact", "public": True}]
BOUND = Condition("Bound", True, "Bound", "successfully bound route", "http")
REFUSED = Condition("Accepted", False, "InvalidDiscoveryChain", "route protocol does not match", "")
FROM_SERVICE = Answer(403, "Forbidden", (("x-envoy-upstream-service-time", "1"),), b"RBAC: access denied")
NO_ROUTE = Answer(404, "Not Found", (), b"")
NO_SERVICE = Answer(503, "Service Unavailable", (), b"")


class Consul(FakeConsul):
    def watch_entry(self, kind, name, index=0, wait=0.0):
        return Snapshot(1, self.read_entry(kind, name))

    def write_entry(self, body, modify_index):
        key = (body["Kind"], body["Name"])
        assert modify_index == (self.entries[key].modify_index if key in self.entries else 0)
        self.done.append(f"write {body['Kind']} {modify_index}")
        self.store(*key, body, body.get("Meta"))

    def instances(self, name, connect=False, **_):
        if name != "hms-gateway":
            return super().instances(name, connect)
        return Snapshot(1, (Instance("g1", name, "n1", "10.0.0.9", 8080, {}, (), "passing", ()),))


@pytest.fixture
def consul():
    found = Consul()
    for entry in compile_spec(spec(routes=PUBLIC), Platform()).entries:
        found.store(entry.kind, entry.name, entry.body)
    found.store("api-gateway", "hms-gateway")
    judge(found, BOUND)
    return found


def judge(consul, *conditions):
    for key in [key for key in consul.entries if key[0] == "http-route"]:
        consul.entries[key] = replace(consul.entries[key], conditions=conditions)


def answering(monkeypatch, *answers):
    """The gateway answers the probe with these, the last one for ever; what was asked is returned."""
    left, asked = list(answers), []

    def ask(target, method, path, headers, *_):
        asked.append((target.host, target.port, method, path, dict(headers)))
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(workflow, "ask", ask)
    monkeypatch.setattr(workflow, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(workflow, "_NUDGE_SECONDS", 0.0)
    monkeypatch.setattr(workflow, "_REACH_SECONDS", 0.01)
    return asked


def on(consul, platform):
    found = session(FakeNomad(), consul)
    found.platform = platform
    return found


def soon(seconds=5.0):
    return time.monotonic() + seconds


def test_a_route_is_live_when_a_probe_comes_back_from_the_service(consul, monkeypatch):
    asked = answering(monkeypatch, NO_ROUTE, FROM_SERVICE)
    state = workflow.await_route(session(FakeNomad(), consul), spec(routes=PUBLIC), soon())
    assert (state.probed, state.urls, state.warnings) == (True, ("http://10.0.0.9:8080/receipt",), ())
    assert asked[0][:3] == ("10.0.0.9", 8080, "GET")
    assert asked[0][3] == "/.well-known/hms-nomad/route"
    assert len(asked) == 4
    versions = [headers["x-hms-nomad-route"] for *_, headers in asked]
    routes = [name for kind, name in consul.entries if kind == "http-route"]
    assert [version.rpartition(".")[0] for version in dict.fromkeys(versions)] == routes


def test_routes_are_awaited_without_the_spec_by_what_consul_has(consul, monkeypatch):
    asked, events = answering(monkeypatch, NO_ROUTE, FROM_SERVICE), []
    for entry in consul.list_entries("http-route"):
        entry.body["Hostnames"] = ["api.agency.gov"]
    assert workflow.open_routes(session(FakeNomad(), consul), "receipt-svc", events.append) == ()
    assert asked[-1][4]["Host"] == "api.agency.gov"
    assert [event.kind for event in events] == ["gateway"]
    assert workflow.open_routes(session(FakeNomad(), consul), "private-svc", events.append) == ()
    assert len(events) == 1


def test_a_route_that_does_not_come_after_a_rollout_is_a_warning(consul, monkeypatch):
    answering(monkeypatch, NO_ROUTE)
    monkeypatch.setattr(workflow, "_CHECK_SECONDS", 0.05)
    (warning,) = workflow.open_routes(session(FakeNomad(), consul), "receipt-svc", lambda event: None)
    assert "does not lead to receipt-svc" in warning


def test_a_refused_route_is_told_with_consuls_reason(consul, monkeypatch):
    answering(monkeypatch, FROM_SERVICE)
    judge(consul, REFUSED)
    with pytest.raises(DeadlineExceededError, match="InvalidDiscoveryChain: route protocol does not match"):
        workflow.await_route(session(FakeNomad(), consul), spec(routes=PUBLIC), soon(0))


def test_a_gateway_that_leads_nowhere_is_told_with_its_answer(consul, monkeypatch):
    answering(monkeypatch, NO_ROUTE)
    with pytest.raises(DeadlineExceededError, match="does not lead to receipt-svc: it answers 404"):
        workflow.await_route(session(FakeNomad(), consul), spec(routes=PUBLIC), soon(0.05))


def test_a_gateway_out_of_reach_is_a_warning(consul, monkeypatch):
    answering(monkeypatch, UnavailableError("gateway", "open a connection", "10.0.0.9:8080", "No route to host"))
    state = workflow.await_route(session(FakeNomad(), consul), spec(routes=PUBLIC), soon())
    assert not state.probed
    assert "not reached from here at http://10.0.0.9:8080 (No route to host)" in state.warnings[0]


def test_a_gateway_that_has_forgotten_the_service_is_nudged(consul, monkeypatch):
    answering(monkeypatch, NO_SERVICE, NO_SERVICE, FROM_SERVICE)
    monkeypatch.setattr(
        Consul, "write_entry", lambda self, body, index: self.done.append(f"write {body['Kind']} {index}")
    )
    assert workflow.await_route(session(FakeNomad(), consul), spec(routes=PUBLIC), soon()).probed
    assert consul.done[:2] == ["delete service-splitter receipt-svc", "write service-splitter 0"]


def test_a_nudge_leaves_a_rollout_and_others_splitters_alone():
    consul = FakeConsul()
    two = {"Splits": [{"Weight": 99, "ServiceSubset": "r1"}, {"Weight": 1, "ServiceSubset": "r2"}]}
    assert nudge_route("a", consul) is False
    consul.store("service-splitter", "a", two)
    assert nudge_route("a", consul) is False
    consul.store("service-splitter", "a", {"Splits": [{"Weight": 100}]}, meta={})
    assert nudge_route("a", consul) is False
    assert consul.done == []


def test_routes_are_rows_and_the_probe_is_none(consul):
    rows = workflow.gateway_routes(session(FakeNomad(), consul))
    assert [(row.method, row.path, row.service, row.bound, row.url) for row in rows] == [
        ("POST", "/receipt", "receipt-svc", True, "http://10.0.0.9:8080/receipt")
    ]


def test_a_public_route_without_a_way_in_is_warned_of(consul):
    public = spec(routes=PUBLIC)
    assert workflow.route_warnings(session(FakeNomad(), consul), public) == ()
    none = on(consul, Platform(gateway=None))
    assert "this platform has no gateway" in workflow.route_warnings(none, public)[0]
    del consul.entries["api-gateway", "hms-gateway"]
    assert "is not installed" in workflow.route_warnings(session(FakeNomad(), consul), public)[0]
    assert workflow.route_warnings(none, spec()) == ()


def test_two_services_with_the_same_route_are_warned_of(consul):
    other = spec(name="other-svc", routes=PUBLIC)
    (warning,) = workflow.route_warnings(session(FakeNomad(), consul), other)
    assert "POST /receipt already, for receipt-svc" in warning


def test_the_configured_address_is_told_to_people(consul):
    named = on(consul, Platform(gateway=Gateway(url="https://api.agency.gov")))
    assert workflow.gateway_routes(named)[0].url == "https://api.agency.gov/receipt"
    assert workflow.gateway_status(named).url == "https://api.agency.gov"


def test_a_moved_index_of_our_own_route_is_no_conflict(consul):
    stored = next(entry for (kind, _), entry in consul.entries.items() if kind == "http-route")
    change = Change("http-route", stored.name, Action.UPDATE, (), stored.body, stored.modify_index - 1)
    write_routes([change], consul, lambda _: None)
    assert consul.done == [f"write http-route {stored.modify_index}"]


def test_instances_that_share_an_address_are_probed_and_shown_each_by_its_own(consul, monkeypatch):
    ids = [f"_nomad-task-{number}-0000-1111-2222-333333333333-group-gateway-hms-gateway-listener" for number in "ab"]
    owns = ("10.0.0.9:21001", "10.0.0.9:21002")
    shared = tuple(
        Instance(id_, "hms-gateway", "n1", "10.0.0.9", 8080, {"own": own}, (), "passing", ())
        for id_, own in zip(ids, owns, strict=True)
    )
    monkeypatch.setattr(Consul, "instances", lambda self, name, **_: Snapshot(1, shared))
    asked = answering(monkeypatch, FROM_SERVICE)
    state = workflow.await_route(session(FakeNomad(), consul), spec(routes=PUBLIC), soon())
    assert [one[:2] for one in asked] == [("10.0.0.9", 21001)] * 3 + [("10.0.0.9", 21002)] * 3
    assert state.urls == ("http://10.0.0.9:8080/receipt",)
    rows = workflow.gateway_status(session(FakeNomad(), consul)).instances
    assert [(one.instance, one.address, one.own) for one in rows] == [
        ("a-0000-1", "10.0.0.9:8080", owns[0]),
        ("b-0000-1", "10.0.0.9:8080", owns[1]),
    ]


def test_calls_that_no_owner_allows_are_warned_of_where_owners_decide(consul, monkeypatch):
    monkeypatch.setattr(Consul, "agent", lambda self: SimpleNamespace(allows_by_default=False), raising=False)
    caller = spec(name="caller", uses=["receipt-svc"])
    assert workflow.route_warnings(on(consul, Platform()), caller) == ()
    strict = on(consul, Platform(uses_grant=False))
    assert [one.declared_by for one in compile_spec(caller, strict.platform).intentions] == ["default"]
    consul.entries.pop(("service-intentions", "receipt-svc"), None)
    (warning,) = workflow.route_warnings(strict, caller)
    assert warning == (
        "caller may not call receipt-svc yet: on this platform its owner decides, and writes allow: [caller]"
    )
    allowing = spec(name="receipt-svc", allow=["caller"])
    assert workflow.all_route_warnings(strict, [caller, allowing]) == ()
