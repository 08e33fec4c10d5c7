"""What the mesh is told during a rollout: nobody is ever sent to nothing, and all of it goes again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.compile import compile_spec
from hms_nomad.compile.http_routes import PROBE_PATH, is_headed
from hms_nomad.plan.change import Action
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import Observed, ObservedEntry
from hms_nomad.platform.model import Platform
from hms_nomad.rollout.traffic import (
    finishing,
    knows_both,
    knows_only,
    preparing,
    splitter,
    switching,
    weighing,
    weight_of,
)
from hms_nomad.sections.reading import read
from tests.unit.rollout.world import POLICY, ROLLOUT
from tests.unit.specs import spec

SERVICE = "receipt-svc"
SECOND = f"{SERVICE}_canary"
OPEN = {"path": "/receipt", "public": True}
MORE = {"path": "/v2", "public": True}


class Mesh:
    """A Consul that keeps what is written to it and checks that what entries name exists."""

    def __init__(self, **changes):
        self.spec = spec(**changes)
        self.old = compile_spec(self.spec, Platform())
        self.entries, self.index = {}, 1
        nothing = Observed(None, {}, {})
        self.write(*(change for change in make_plan(self.old, nothing).changes if change.kind != "job"))

    def rollout(self, new, **changes):
        return replace(ROLLOUT, stable=self.old.release, candidate=new.release, **changes)

    def observed(self):
        def of(intentions):
            return {
                (name if intentions else (kind, name)): ObservedEntry(body, 1)
                for (kind, name), body in self.entries.items()
                if (kind == "service-intentions") == intentions
            }

        return Observed(None, of(False), of(True))

    def write(self, *changes):
        for change in changes:
            if change.action is Action.DELETE:
                del self.entries[change.kind, change.name]
            elif change.body is not None:
                self.entries[change.kind, change.name] = change.body
            self.check()

    def body(self, kind, name=SERVICE):
        return self.entries.get((kind, name), {})

    def asked_by_header(self):
        """Where a request with the header goes that comes through the gateway, by path; "" is the default release."""
        target = self.body("service-resolver", SECOND).get("Redirect", {})
        return {
            match["Path"]["Value"]: target.get("ServiceSubset", "")
            for rule in self.rules(headed=True)
            for match in rule["Matches"]
            if match["Path"]["Value"] != PROBE_PATH
        }

    def rules(self, *, headed):
        """Rules of all http-routes, for requests with the header or for all others."""
        routes = [body for (kind, _), body in self.entries.items() if kind == "http-route"]
        return [rule for body in routes for rule in body["Rules"] if is_headed(rule) == headed]

    def check(self):
        subsets = set(self.body("service-resolver").get("Subsets", {}))
        named = {part["ServiceSubset"] for part in self.body("service-splitter").get("Splits", ())}
        named |= {
            route["Destination"]["ServiceSubset"]
            for route in self.body("service-router").get("Routes", ())
            if "ServiceSubset" in route.get("Destination", {})
        }
        assert "Failover" not in self.body("service-resolver"), "a subset becomes another kind of cluster under traffic"
        second = self.body("service-resolver", SECOND)
        named |= {second["Redirect"]["ServiceSubset"]} if "ServiceSubset" in second.get("Redirect", {}) else set()
        assert named <= subsets, "Consul refuses entries that name a subset which the resolver does not know"
        asked = {service["Name"] for rule in self.rules(headed=True) for service in rule["Services"]}
        assert SECOND not in asked or second, "Consul answers 503 where a route names what nothing stands for"
        assert not second or self.body("service-defaults", SECOND), "it would speak another protocol than the service"

    def knows(self, what, *arguments):
        return what(*arguments, self.body("service-resolver"), self.body("service-splitter"))


def new_of(**changes):
    return compile_spec(spec(image="ghcr.io/gov/receipt:2.0", version="2.0.0", **changes), Platform())


def test_preparing_leaves_all_traffic_where_it_is():
    mesh, new = Mesh(), new_of()
    rollout = mesh.rollout(new)
    changes = preparing(rollout, new, mesh.observed())
    assert changes[-1].kind == "service-splitter"
    mesh.write(*changes)
    assert mesh.body("service-resolver")["DefaultSubset"] == mesh.old.release
    assert set(mesh.body("service-resolver")["Subsets"]) == {mesh.old.release, new.release}
    assert mesh.knows(weight_of, rollout) == 0
    assert mesh.knows(knows_both, rollout)
    assert preparing(rollout, new, mesh.observed()) == ()


def test_preparing_again_keeps_the_weight_that_stands_and_takes_a_fallback_away():
    mesh, new = Mesh(), new_of()
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    mesh.write(weighing(rollout, SERVICE, 10.0, mesh.observed()))
    fallback = {new.release: {"ServiceSubset": mesh.old.release}}
    mesh.entries["service-resolver", SERVICE] = {**mesh.body("service-resolver"), "Failover": fallback}
    assert not mesh.knows(knows_both, rollout)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    assert mesh.knows(weight_of, rollout) == 10.0


def test_requests_with_the_header_take_the_new_releases_routes_to_it_and_the_others_the_old_ones():
    mesh, new = Mesh(), new_of(routes=[{"path": "/v2", "methods": ["POST"]}])
    mesh.write(*preparing(mesh.rollout(new), new, mesh.observed()))
    first, second = mesh.body("service-router")["Routes"]
    assert first["Match"]["HTTP"] == {
        "PathPrefix": "/v2",
        "Methods": ["POST"],
        "Header": [{"Name": "X-HMS-Canary", "Exact": "1"}],
    }
    assert first["Destination"]["ServiceSubset"] == new.release
    assert second["Match"]["HTTP"]["PathPrefix"] == "/receipt"
    assert "ServiceSubset" not in second["Destination"]


def test_callers_may_do_what_either_release_allows_until_the_old_one_is_gone():
    mesh, new = Mesh(allow=["portal"]), new_of(allow=["portal", "tax-svc"], routes=[{"path": "/v2"}])
    mesh.write(*preparing(mesh.rollout(new), new, mesh.observed()))
    sources = {source["Name"]: source for source in mesh.body("service-intentions")["Sources"]}
    paths = [permission["HTTP"]["PathPrefix"] for permission in sources["portal"]["Permissions"]]
    assert sorted(paths) == ["/receipt", "/v2"]
    assert sources["*"]["Action"] == "deny"
    assert "tax-svc" in sources


def test_a_denial_inside_an_allowed_path_is_not_loosened():
    platform = read(Platform, {"gateway": {}})
    public = [{"path": "/a/private"}, {"path": "/a", "public": True}]
    mesh = Mesh()
    mesh.old = compile_spec(spec(routes=public), platform)
    mesh.entries = {}
    mesh.write(*(c for c in make_plan(mesh.old, Observed(None, {}, {})).changes if c.kind not in ("job", "http-route")))
    before = {source["Name"]: source for source in mesh.body("service-intentions")["Sources"]}
    new = compile_spec(spec(image="x:2", routes=[*public, {"path": "/b", "public": True}]), platform)
    mesh.write(*preparing(mesh.rollout(new), new, mesh.observed()))
    after = {source["Name"]: source for source in mesh.body("service-intentions")["Sources"]}
    gateway = platform.gateway.name
    headed = [one for one in after[gateway]["Permissions"] if "Header" in one["HTTP"]]
    assert [one for one in after[gateway]["Permissions"] if one not in headed] == before[gateway]["Permissions"]
    assert after[gateway]["Permissions"][: len(headed)] == headed
    assert [(one["Action"], one["HTTP"]["PathPrefix"]) for one in headed] == [
        ("deny", "/a/private"), ("allow", "/a"), ("allow", "/b"), ("deny", "/")
    ]  # fmt: skip
    assert all(one["HTTP"]["Header"] == [{"Name": "X-HMS-Canary", "Exact": "1"}] for one in headed)
    mesh.write(*preparing(mesh.rollout(new), new, mesh.observed()))
    again = {source["Name"]: source for source in mesh.body("service-intentions")["Sources"]}
    assert again == after


@pytest.mark.parametrize("weight", [0, 0.01, 1, 33.33, 50, 99.99, 100])
def test_weights_always_sum_to_one_hundred(weight):
    splits = splitter(SERVICE, ROLLOUT, weight)["Splits"]
    assert round(sum(split["Weight"] for split in splits), 2) == 100


def test_at_the_end_exactly_the_new_releases_entries_are_left():
    mesh, new = Mesh(), new_of(routes=[{"path": "/v2"}], allow=["portal"])
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    mesh.write(weighing(rollout, SERVICE, 100.0, mesh.observed()))
    mesh.write(switching(rollout, SERVICE, mesh.observed()))
    assert not mesh.knows(knows_only, new.release)
    changes = finishing(new, mesh.observed())
    assert changes[-1].kind == "service-resolver"
    mesh.write(*changes)
    assert mesh.knows(knows_only, new.release)
    assert finishing(new, mesh.observed()) == ()
    assert mesh.body("service-splitter") == {}


def test_taken_back_exactly_the_old_releases_entries_are_left():
    mesh, new = Mesh(allow=["portal"]), new_of(routes=[{"path": "/v2"}], uses=["tax-svc"])
    before = dict(mesh.entries)
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    mesh.write(weighing(rollout, SERVICE, 50.0, mesh.observed()))
    mesh.write(weighing(rollout, SERVICE, 0.0, mesh.observed()))
    mesh.write(*finishing(mesh.old, mesh.observed()))
    assert mesh.knows(knows_only, mesh.old.release)
    assert mesh.entries == before


def test_behind_the_gateway_a_splitter_of_one_part_stays():
    mesh = Mesh()
    rollout = mesh.rollout(new_of())
    one = {"Splits": [{"Weight": 100, "ServiceSubset": mesh.old.release}]}
    assert knows_only(mesh.old.release, mesh.body("service-resolver"), one)
    assert weight_of(rollout, mesh.body("service-resolver"), one) is None


def test_without_weights_the_default_moves_all_the_traffic_at_once():
    mesh, new = Mesh(protocol="tcp", routes=[]), new_of(protocol="tcp", routes=[])
    rollout = mesh.rollout(new, policy=replace(POLICY, splits=False, steps=(100.0,), holds=(0.0,)))
    mesh.write(*preparing(rollout, new, mesh.observed()))
    assert mesh.body("service-splitter") == {}
    assert mesh.knows(weight_of, rollout) == 0
    assert mesh.knows(knows_both, rollout)
    mesh.write(weighing(rollout, SERVICE, 100.0, mesh.observed()))
    assert mesh.knows(weight_of, rollout) == 100
    assert mesh.knows(knows_both, rollout)
    mesh.write(weighing(rollout, SERVICE, 0.0, mesh.observed()))
    assert mesh.body("service-resolver")["DefaultSubset"] == mesh.old.release


def test_the_header_leads_through_the_gateway_to_the_new_release_and_the_route_stays_where_it_is_the_same():
    mesh, new = Mesh(routes=[OPEN]), new_of(routes=[OPEN])
    rollout = mesh.rollout(new)
    assert mesh.asked_by_header() == {"/receipt": ""}
    changes = preparing(rollout, new, mesh.observed())
    assert "http-route" not in {change.kind for change in changes}, "whoever may not publish can still roll out"
    mesh.write(*changes)
    assert mesh.asked_by_header() == {"/receipt": new.release}
    mesh.write(weighing(rollout, SERVICE, 100.0, mesh.observed()))
    mesh.write(switching(rollout, SERVICE, mesh.observed()))
    mesh.write(*finishing(new, mesh.observed()))
    assert mesh.asked_by_header() == {"/receipt": ""}
    assert mesh.knows(knows_only, new.release)
    assert finishing(new, mesh.observed()) == ()


def test_the_header_takes_the_new_releases_public_routes_and_a_release_that_is_taken_back_leaves_nothing():
    mesh, new = Mesh(routes=[OPEN]), new_of(routes=[OPEN, MORE])
    before, others = dict(mesh.entries), mesh.rules(headed=False)
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    assert mesh.asked_by_header() == {"/receipt": new.release, "/v2": new.release}
    assert mesh.rules(headed=False) == others
    assert preparing(rollout, new, mesh.observed()) == ()
    mesh.write(*finishing(mesh.old, mesh.observed()))
    assert mesh.entries == before


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(("old", "routes"), [([{"path": "/receipt"}], [OPEN]), ([OPEN], [{"path": "/receipt"}])])
def test_a_service_comes_behind_the_gateway_and_leaves_it_with_its_second_name(old, routes, forward):
    mesh, new = Mesh(routes=old), new_of(routes=routes)
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    if forward:
        mesh.write(weighing(rollout, SERVICE, 100.0, mesh.observed()))
        mesh.write(switching(rollout, SERVICE, mesh.observed()))
    mesh.write(*finishing(new if forward else mesh.old, mesh.observed()))
    left = routes if forward else old
    names = {name for kind, name in mesh.entries if kind != "http-route"}
    assert names == ({SERVICE, SECOND} if left == [OPEN] else {SERVICE})
    assert bool(mesh.rules(headed=False)) == (left == [OPEN])


def test_what_takes_a_routes_place_comes_before_it_goes_and_the_headers_routes_come_first():
    mesh, new = Mesh(routes=[OPEN]), new_of(routes=[OPEN | {"methods": ["POST"]}])
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    mesh.write(weighing(rollout, SERVICE, 100.0, mesh.observed()))
    mesh.write(switching(rollout, SERVICE, mesh.observed()))
    routes = [change for change in finishing(new, mesh.observed()) if change.kind == "http-route"]
    assert [change.action for change in routes] == [Action.CREATE] * 2 + [Action.DELETE] * 2
    taken_back = [change for change in finishing(mesh.old, mesh.observed()) if change.kind == "http-route"]
    assert [(change.action, change.name.partition(".")[0]) for change in taken_back] == [
        (Action.CREATE, SECOND), (Action.CREATE, SECOND), (Action.DELETE, SECOND)
    ]  # fmt: skip


def test_the_route_of_an_earlier_version_stays_until_the_old_release_ends():
    mesh, new = Mesh(routes=[OPEN]), new_of(routes=[OPEN])
    older = older_route(mesh)
    rollout = mesh.rollout(new)
    mesh.write(*preparing(rollout, new, mesh.observed()))
    assert mesh.body("http-route") == older
    routes = {name for kind, name in mesh.entries if kind == "http-route"}
    assert {name.partition(".")[0] for name in routes} == {SERVICE, SECOND}
    mesh.write(weighing(rollout, SERVICE, 100.0, mesh.observed()))
    mesh.write(switching(rollout, SERVICE, mesh.observed()))
    changes = [change for change in finishing(new, mesh.observed()) if change.kind == "http-route"]
    assert [change.action for change in changes] == [Action.CREATE, Action.CREATE, Action.DELETE], changes
    assert changes[-1].name == SERVICE
    mesh.write(*finishing(new, mesh.observed()))
    assert mesh.body("http-route") == {}


def older_route(mesh):
    """Put the routes of a mesh into one of several rules, as earlier versions did."""
    keys = [key for key in mesh.entries if key[0] == "http-route"]
    bodies = [mesh.entries.pop(key) for key in keys]
    rules = [rule for body in bodies for rule in body["Rules"]]
    mesh.entries["http-route", SERVICE] = {**bodies[0], "Name": SERVICE, "Rules": rules}
    return mesh.entries["http-route", SERVICE]
