"""A spec becomes the config entries by which the mesh treats its traffic."""

from __future__ import annotations

import pytest

from hms_nomad.compile.entries import config_entries, intentions
from hms_nomad.compile.outbound import at_once
from hms_nomad.compile.routes import permissions_of_router, whole_routes
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Sidecar
from tests.unit.specs import spec


def bodies(**changes):
    return {entry.kind: entry.body for entry in config_entries(spec(**changes), Platform(), "r1")}


def test_entries_come_in_the_order_in_which_consul_accepts_them():
    assert [entry.kind for entry in config_entries(spec(), Platform(), "r1")] == [
        "service-defaults",
        "service-resolver",
        "service-router",
    ]


def test_a_try_that_times_out_at_one_instance_is_made_again_at_another():
    entries = bodies(mesh={"timeout": "2s", "retries": 2})
    assert entries["service-defaults"]["LocalRequestTimeoutMs"] == 2000
    destination = entries["service-router"]["Routes"][0]["Destination"]
    assert destination["NumRetries"] == 2
    assert destination["RequestTimeout"] == "6000ms"


def test_balance_and_the_limit_of_connections_reach_consul_where_the_spec_names_them():
    plain = bodies()
    assert "LoadBalancer" not in plain["service-resolver"]
    assert "MaxInboundConnections" not in plain["service-defaults"]
    entries = bodies(mesh={"balance": "least_request", "max_connections": 7})
    assert entries["service-resolver"]["LoadBalancer"] == {"Policy": "least_request"}
    assert entries["service-defaults"]["MaxInboundConnections"] == 7


def extensions(platform=Platform(), **changes):  # noqa: B008 - it never changes
    entry = config_entries(spec(**changes), platform, "r1")[0].body
    return {one["Name"]: one["Arguments"] for one in entry.get("EnvoyExtensions", ())}


def test_who_calls_others_sends_as_many_requests_again_at_once_as_the_platform_says():
    script = extensions(uses=["tax-svc"])["builtin/lua"]
    assert script["Listener"] == "outbound"
    assert at_once(script["Script"]) == 1024
    few = extensions(Platform(sidecar=Sidecar(retries_at_once=20)), uses=["tax-svc"])
    assert at_once(few["builtin/lua"]["Script"]) == 20
    # Connections are not sent again.
    assert "builtin/lua" not in extensions(uses=["db"], tcp={"db": 5432})
    assert "builtin/lua" not in extensions(Platform(sidecar=Sidecar(retries_at_once=3)), uses=["tax-svc"])


def test_who_calls_others_leaves_a_failing_instance_out_at_once():
    assert extensions() == {}
    for changes in ({"uses": ["tax-svc"]}, {"uses": ["db"], "tcp": {"db": 5432}}):
        (patch,) = extensions(**changes)["builtin/property-override"]["Patches"]
        assert (patch["Path"], patch["Value"]) == ("/common_lb_config/update_merge_window/seconds", 0)


TRANSPARENT = Platform(sidecar=Sidecar(driver="exec", transparent_proxy=True))


def test_where_proxies_are_transparent_strangers_reach_the_sidecar_and_are_told_what_to_declare():
    entries = {entry.kind: entry.body for entry in config_entries(spec(), TRANSPARENT, "r1")}
    (script,) = [one["Arguments"]["Script"] for one in entries["service-defaults"]["EnvoyExtensions"]]
    assert script.startswith('local service, gateway = "receipt-svc", "hms-gateway"')
    assert "envoy_on_request" not in script
    (everybody,) = [one for one in intentions(spec(), TRANSPARENT) if one.source == "*"]
    assert everybody.permissions == ({"Action": "deny", "HTTP": {"PathPrefix": "/"}},)
    assert [one.permissions for one in intentions(spec(), Platform()) if one.source == "*"] == [None]
    # Permissions by request need a protocol with requests.
    tcp = spec(protocol="tcp", routes=None)
    assert [one.permissions for one in intentions(tcp, TRANSPARENT) if one.source == "*"] == [None]
    limited = spec(routes=[{"path": "/receipt", "limit": "10/s"}])
    (both,) = config_entries(limited, TRANSPARENT, "r1")[0].body["EnvoyExtensions"]
    assert "envoy_on_request" in both["Arguments"]["Script"]
    assert "envoy_on_response" in both["Arguments"]["Script"]


def test_only_declared_paths_and_methods_are_routed_and_permitted():
    assert bodies()["service-router"]["Routes"][0]["Match"]["HTTP"] == {"PathPrefix": "/receipt", "Methods": ["POST"]}
    assert permissions_of_router(bodies()["service-router"]) == (
        {"Action": "allow", "HTTP": {"PathPrefix": "/receipt", "Methods": ["POST"]}},
    )


EARLY = ["connect-failure", "refused-stream"]
LATE = [*EARLY, "reset", "gateway-error"]
REPEATABLE = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]


def retries(**changes):
    """Methods and conditions of each route of the router."""
    routes = bodies(**changes)["service-router"]["Routes"]
    return [(route["Match"]["HTTP"].get("Methods"), route["Destination"].get("RetryOn")) for route in routes]


@pytest.mark.parametrize(
    ("methods", "mesh", "found"),
    [
        (["POST"], {}, [(["POST"], EARLY)]),
        (["GET"], {}, [(["GET"], LATE)]),
        (["POST", "GET"], {}, [(["GET"], LATE), (["POST"], EARLY)]),
        ([], {}, [(REPEATABLE, LATE), (None, EARLY)]),
        (["POST", "GET"], {"retry_methods": ["GET", "POST"]}, [(["POST", "GET"], LATE)]),
        (["POST"], {"retry_on": ["5xx"]}, [(["POST"], None)]),
        (["POST", "GET"], {"retry_on": EARLY}, [(["POST", "GET"], EARLY)]),
        (["POST", "GET"], {"retries": 0}, [(["POST", "GET"], None)]),
    ],
)
def test_what_may_not_be_carried_out_twice_is_tried_again_only_where_nobody_got_it(methods, mesh, found):
    assert retries(routes=[{"path": "/a", "methods": methods}], mesh=mesh) == found


def test_a_service_without_routes_repeats_no_post_either():
    assert retries(routes=[]) == [(REPEATABLE, LATE), (None, EARLY)]
    assert permissions_of_router(bodies(routes=[])["service-router"]) == ()


def test_a_route_in_two_parts_is_read_as_one():
    routes = [{"path": "/a", "methods": ["POST", "GET"]}, {"path": "/a", "timeout": "1s"}, {"path": "/b"}]
    router = bodies(routes=routes)["service-router"]
    read = [route["Match"]["HTTP"] for route in whole_routes(router["Routes"])]
    assert [(match["PathPrefix"], match.get("Methods") or []) for match in read] == [
        ("/a", ["GET", "POST"]),
        ("/a", []),
        ("/b", []),
    ]
    assert [one["HTTP"] for one in permissions_of_router(router)] == [
        {"PathPrefix": "/a", "Methods": ["GET", "POST"]},
        {"PathPrefix": "/a"},
        {"PathPrefix": "/b"},
    ]


def test_the_first_parts_of_two_paths_are_no_one_route():
    router = {"Routes": [{"Match": {"HTTP": {"PathPrefix": path, "Methods": ["GET"]}}} for path in ("/a", "/b")]}
    assert len(whole_routes(router["Routes"])) == 2


def test_tcp_services_have_no_router():
    assert "service-router" not in bodies(protocol="tcp", routes=[])


def test_nobody_calls_a_service_unless_somebody_declares_it():
    declared = intentions(spec(uses=["tax-svc"], allow=["portal"]), Platform())
    assert [(i.source, i.destination, i.action, i.declared_by) for i in declared] == [
        ("*", "receipt-svc", "deny", "default"),
        ("portal", "receipt-svc", "allow", "allow"),
        ("receipt-svc", "tax-svc", "allow", "uses"),
    ]


def test_all_traffic_goes_to_the_instances_of_one_release():
    body = bodies()["service-resolver"]
    assert body["DefaultSubset"] == "r1"
    assert body["Subsets"] == {"r1": {"Filter": 'Service.Meta.release == "r1"', "OnlyPassing": True}}
