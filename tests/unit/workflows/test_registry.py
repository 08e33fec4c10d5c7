"""The registry is what Consul knows: entries of ours and their instances."""

from __future__ import annotations

import pytest

from hms_nomad.clients.errors import NotFoundError
from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.mesh.registry import AnsweredRoute, allocation_of, answered_routes, list_registry, lookup
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session, sidecar

A = "aaaaaaaa-1111-2222-3333-444444444444"
B = "bbbbbbbb-1111-2222-3333-444444444444"
ROUTES = [
    {"path": "/receipt", "methods": ["POST"]},
    {"path": "/files", "match": "exact"},
    {"path": "/v[0-9]+", "match": "regex", "methods": ["GET", "HEAD"]},
]


def consul_with(desired):
    consul = FakeConsul()
    for entry in desired.entries:
        consul.store(entry.kind, entry.name, entry.body)
    return consul


def test_a_lookup_says_what_the_spec_said():
    desired = compile_spec(spec(routes=ROUTES), Platform())
    consul = consul_with(desired)
    meta = dict(desired.job["TaskGroups"][0]["Services"][0]["Meta"])
    consul.sidecars = [sidecar(A, desired.service, **meta), sidecar(B, desired.service, "critical", **meta)]
    found = lookup(session(FakeNomad(), consul), desired.service)
    record = desired.registry
    assert (found.name, found.version, found.release, found.url, found.port, found.protocol) == (
        record.name,
        record.version,
        record.release,
        record.url,
        record.port,
        record.protocol,
    )
    assert found.routes == (
        AnsweredRoute("/receipt", "prefix", ("POST",)),
        AnsweredRoute("/files", "exact", ()),
        AnsweredRoute("/v[0-9]+", "regex", ("GET", "HEAD")),
    )
    assert (found.healthy, [endpoint.allocation for endpoint in found.endpoints]) == (1, [A, B])


def test_during_a_rollout_the_release_with_the_traffic_speaks_for_the_service():
    consul = FakeConsul()
    consul.store("service-defaults", "a", {"Protocol": "http"})
    consul.store("service-resolver", "a", {"DefaultSubset": "r1"})
    consul.sidecars = [
        sidecar(A, "a", release="r2", version="2"),
        sidecar(B, "a", release="r2", version="2"),
        sidecar(A, "a", release="r1", version="1"),
    ]
    assert lookup(session(FakeNomad(), consul), "a").version == "1"


def test_a_service_without_instances_is_still_in_the_book():
    consul = FakeConsul()
    consul.store("service-defaults", "a", {"Protocol": "tcp"})
    consul.store("service-defaults", "not-ours", {"Protocol": "tcp"}, meta={})
    (found,) = list_registry(session(FakeNomad(), consul))
    assert (found.name, found.protocol, found.version, found.healthy, found.port) == ("a", "tcp", "", 0, 0)


def test_the_second_name_of_a_service_behind_the_gateway_is_no_service():
    consul = consul_with(compile_spec(spec(routes=[{"path": "/", "public": True}]), Platform()))
    assert ("service-defaults", "receipt-svc_canary") in consul.entries
    assert [one.name for one in list_registry(session(FakeNomad(), consul))] == ["receipt-svc"]


def test_an_unknown_name_is_no_entry():
    with pytest.raises(NotFoundError, match="the registry has no service 'nowhere'"):
        lookup(session(FakeNomad(), FakeConsul()), "nowhere")


def test_a_list_costs_three_calls_and_one_for_each_service():
    consul = FakeConsul()
    for number in range(10):
        consul.store("service-defaults", f"svc-{number}")
    list_registry(session(FakeNomad(), consul))
    assert consul.calls == 3 + 10


def test_routes_that_a_header_chooses_belong_to_rollouts():
    canary = {"PathPrefix": "/", "Header": [{"Name": "x", "Exact": "1"}]}
    router = {"Routes": [{"Match": {"HTTP": canary}}, {"Match": {"HTTP": {"PathPrefix": "/"}}}]}
    assert list(answered_routes(router)) == [AnsweredRoute("/", "prefix", ())]


@pytest.mark.parametrize(
    ("service_id", "allocation"),
    [
        (f"_nomad-task-{A}-group-app-a-3000-sidecar-proxy", A),
        (f"_nomad-task-{A}-group-app-a-b-c-3000", A),
        ("by-hand-1-2-3-4-5", ""),
        ("_nomad-task-short", ""),
    ],
)
def test_the_allocation_stands_in_the_id(service_id, allocation):
    assert allocation_of(service_id) == allocation
