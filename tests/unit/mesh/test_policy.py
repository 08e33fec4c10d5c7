"""How the mesh treats requests to a service: each setting with what gave it, compared with what Consul has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hms_nomad.clients.consul_types import CallingSidecar, Instance, StoredEntry
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.compile import compile_spec
from hms_nomad.compile.connect import PASSIVE_HEALTH_CHECK
from hms_nomad.compile.outbound import lua, script
from hms_nomad.output.mesh_policy import policy_lines
from hms_nomad.output.printer import Color, Look, Printer
from hms_nomad.plan.mesh_policy import callers_policy
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.platform.model_proxies import Gateway
from hms_nomad.spec.loader import examine
from hms_nomad.spec.origins import origins
from hms_nomad.spec.selection import Selection
from hms_nomad.workflows.mesh.policy import explain_service, explain_spec

FILE = """\
name: receipt-svc
version: 1.0.0
image: receipt:1
port: 3000
mesh:
  connect_timeout: 1500ms
  retry_on: [connect-failure, reset]
  balance: least_request
  max_connections: 200
routes:
  - path: /receipt
    methods: [GET, POST]
    timeout: 5s
    limit: 10/s
    public: true
  - path: /old
    match: exact
environments:
  staging:
    mesh: {retries: 1}
"""


class FakeConsul:
    """The entries of a spec, as Consul has them and makes a chain of them."""

    address = "http://consul"

    def __init__(self, spec, platform) -> None:
        self.entries = {
            entry.kind: dict(entry.body) for entry in compile_spec(spec, platform).entries if entry.name == spec.name
        }
        self.entries["service-intentions"] = {
            "Sources": [{"Name": "pay", "Action": "allow"}, {"Name": "*", "Action": "deny"}]
        }
        self.sidecars: dict[str, tuple[CallingSidecar, ...]] = {}
        self.defaults: dict[str, dict[str, Any]] = {}

    def read_entry(self, kind: str, name: str) -> StoredEntry | None:
        if kind == "service-defaults" and name in self.defaults:
            return StoredEntry(kind, name, self.defaults[name], 1, ())
        body = self.entries.get(kind)
        return StoredEntry(kind, name, body, 1, ()) if body and name == "receipt-svc" else None

    def list_entries(self, kind: str) -> tuple[StoredEntry, ...]:
        return (StoredEntry(kind, "receipt-svc", self.entries[kind], 1, ()),)

    def discovery_chain(self, name: str) -> dict[str, Any]:
        routes = [{"Definition": route} for route in self.entries["service-router"]["Routes"]]
        everything = {"Definition": {"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": {"Service": name}}}
        stored = self.entries["service-resolver"]
        resolver = {"ConnectTimeout": stored["ConnectTimeout"]}
        nodes = {
            f"router:{name}": {"Type": "router", "Routes": [*routes, everything]},
            f"resolver:{name}": {"Type": "resolver", "Resolver": resolver, "LoadBalancer": stored.get("LoadBalancer")},
        }
        return {"Protocol": "http", "Nodes": nodes}

    def calling_sidecars(self, name: str) -> tuple[CallingSidecar, ...]:
        return self.sidecars.get(name, ())


def sidecar(upstreams: dict[str, Any]) -> CallingSidecar:
    id_ = "_nomad-task-8fb80591-aaaa-bbbb-cccc-dddddddddddd-group-app-pay-3000-sidecar-proxy"
    return CallingSidecar(Instance(id_, "pay", "n1", "10.0.0.1", 20000, {}, (), "passing", ()), upstreams)


def world(environment: str | None = None, **fields: Any):
    platform = Platform(name="city", gateway=Gateway(limit="90/s"), **fields)
    examined = examine(FILE.encode(), "receipt.hms.yml", Selection(environment))
    assert examined.spec is not None, examined.diagnostics
    consul = FakeConsul(examined.spec, platform)
    session = SimpleNamespace(consul=consul, platform=platform, pins={})
    return session, consul, examined.spec, origins(examined)


def test_each_setting_names_its_place_in_the_spec():
    session, _, spec, given = world()
    found = {one.setting: (one.value, one.given_by) for one in explain_spec(session, spec, given).settings}
    assert found["protocol"] == ("http", ("default",))
    assert found["connect timeout"] == ("1500ms", ("receipt.hms.yml:6:20 mesh.connect_timeout",))
    assert found["longest try"][0] == "15s"
    assert found["GET /receipt...: timeout"] == ("20s", ("receipt.hms.yml:13:14 routes[0].timeout",))
    assert found["GET /receipt...: retries"][0] == "3 on connect-failure, reset"
    # What was carried out already is not done twice.
    assert found["POST /receipt...: retries"][0] == "3 on connect-failure"
    assert found["POST /receipt...: retries"][1] == ("receipt.hms.yml:7:14 mesh.retry_on",)
    assert found["* /old: timeout"] == ("60s", ("default",))
    assert found["/receipt: limit of an instance"] == ("10/s", ("receipt.hms.yml:14:12 routes[0].limit",))
    assert found["load balancing"] == ("least_request", ("receipt.hms.yml:8:12 mesh.balance",))
    assert found["connections of an instance"] == ("200", ("receipt.hms.yml:9:20 mesh.max_connections",))
    assert found["outlier ejection"][0] == "3 failures in a row, for 5s, at most 50% of the instances"
    assert found["limit of an instance of the gateway"] == ("90/s", ("context city gateway.limit",))


def test_an_environment_is_named():
    session, _, spec, given = world("staging")
    found = {one.setting: one for one in explain_spec(session, spec, given).settings}
    assert found["GET /receipt...: retries"].value.startswith("1 on")
    assert "receipt.hms.yml:20:21 mesh.retries (environment staging)" in found["GET /receipt...: retries"].given_by


def test_what_consul_has_instead_is_shown():
    session, consul, spec, given = world()
    assert explain_spec(session, spec, given).same
    consul.entries["service-resolver"]["ConnectTimeout"] = "9s"
    del consul.entries["service-router"]["Routes"][-1]
    consul.entries["service-router"]["Routes"].append({"Match": {"HTTP": {"PathExact": "/extra"}}, "Destination": {}})
    found = explain_spec(session, spec, given)
    stored = {one.setting: one.stored for one in found.settings}
    assert not found.same
    assert stored["connect timeout"] == "9s"
    assert stored["* /old: timeout"] == "missing"
    assert stored["* /extra: retries"] == "not in the spec"
    assert stored["protocol"] == "same"
    assert stored["limit of an instance of the gateway"] is None


def test_routes_of_a_rollout_are_no_settings():
    session, consul, spec, given = world()
    header = {"Name": "x-hms-canary", "Exact": "1"}
    steered = {"Match": {"HTTP": {"PathPrefix": "/", "Header": [header]}}, "Destination": {"ServiceSubset": "r2"}}
    consul.entries["service-router"]["Routes"].insert(0, steered)
    assert explain_spec(session, spec, given).same


def test_a_service_that_runs_is_explained_without_its_spec():
    session, _, _, _ = world()
    found = explain_service(session, "receipt-svc")
    assert {one.stored for one in found.settings} == {None}
    by_name = {one.setting: one.given_by for one in found.settings}
    assert by_name["connect timeout"] == ("service-resolver receipt-svc",)
    assert by_name["GET /receipt...: timeout"] == ("service-router receipt-svc",)
    with pytest.raises(NotFoundError, match="is receipt-svc meant"):
        explain_service(session, "receipt-scv")


def test_callers_show_what_their_sidecars_were_told():
    session, consul, spec, given = world()
    config = {"passive_health_check": {**PASSIVE_HEALTH_CHECK, "max_failures": 9}, "limits": {"MaxConnections": 7}}
    consul.sidecars["pay"] = (sidecar({"receipt-svc": config}),)
    found = explain_spec(session, spec, given)
    (caller,) = found.callers
    assert (caller.service, caller.allocation[:8], caller.sync, caller.problem) == ("pay", "8fb80591", "unknown", "")
    assert caller.connections.startswith("7 connections, 1024 waiting")
    # Its sidecar has no script yet, so Envoy's own number holds.
    assert caller.connections.endswith(", 3 retries at once")
    consul.defaults["pay"] = {"EnvoyExtensions": [lua("inbound", "x = 1"), lua("outbound", script(session.platform))]}
    (caller,) = explain_spec(session, spec, given).callers
    assert caller.connections.endswith(", 1024 retries at once")
    ejection = next(one for one in found.settings if one.setting == "outlier ejection")
    assert ejection.stored == "9 failures in a row, for 5s, at most 50% of the instances"
    lines = list(policy_lines(Printer(Look(color=Color.NEVER)), found.settings, found.callers))
    assert lines[0].split() == ["SETTING", "VALUE", "FROM", "IN", "CONSUL"]
    assert any(line.startswith("pay     8fb80591") for line in lines)


def test_a_caller_that_does_not_use_it_is_told_what_to_declare():
    session, consul, spec, given = world()
    consul.sidecars["bob"] = (sidecar({}),)
    (caller,) = explain_spec(session, spec, given, "bob").callers
    assert caller.problem == "bob does not use it; declare uses: [receipt-svc] in its spec"
    with pytest.raises(NotFoundError, match="carol has no instance in the mesh"):
        explain_spec(session, spec, given, "carol")


def test_a_job_that_ends_has_no_policy():
    session, _, spec, given = world()
    with pytest.raises(PlatformError, match="nobody calls it"):
        explain_spec(session, spec.changed(kind="job"), given)


def test_settings_of_an_upstream_are_read_in_both_spellings():
    ejection, _ = callers_policy({"passive_health_check": {"MaxFailures": 2, "BaseEjectionTime": "30s"}}, 3)
    assert ejection.value == "2 failures in a row, for 30s"
    assert next(one.value for one in callers_policy({}, 3)) == "none"
