"""A spec becomes the config entries by which the mesh treats its traffic."""

from __future__ import annotations

from hms_nomad.compile.entries import config_entries, intentions, permissions
from tests.unit.specs import spec


def bodies(**changes):
    return {entry.kind: entry.body for entry in config_entries(spec(**changes), "r1")}


def test_entries_come_in_the_order_in_which_consul_accepts_them():
    assert [entry.kind for entry in config_entries(spec(), "r1")] == [
        "service-defaults",
        "service-resolver",
        "service-router",
    ]


def test_a_try_that_times_out_at_one_instance_is_made_again_at_another():
    entries = bodies(mesh={"timeout": "2s", "retries": 2})
    assert entries["service-defaults"]["LocalRequestTimeoutMs"] == 2000
    destination = entries["service-router"]["Routes"][0]["Destination"]
    assert destination["NumRetries"] == 2
    assert "gateway-error" in destination["RetryOn"]
    assert destination["RequestTimeout"] == "6000ms"


def test_only_declared_paths_and_methods_are_routed_and_permitted():
    assert bodies()["service-router"]["Routes"][0]["Match"]["HTTP"] == {"PathPrefix": "/receipt", "Methods": ["POST"]}
    assert permissions(spec().routes) == ({"Action": "allow", "HTTP": {"PathPrefix": "/receipt", "Methods": ["POST"]}},)


def test_tcp_services_have_no_router():
    assert "service-router" not in bodies(protocol="tcp", routes=[])


def test_nobody_calls_a_service_unless_somebody_declares_it():
    declared = intentions(spec(uses=["tax-svc"], allow=["portal"]))
    assert [(i.source, i.destination, i.action, i.declared_by) for i in declared] == [
        ("*", "receipt-svc", "deny", "default"),
        ("portal", "receipt-svc", "allow", "allow"),
        ("receipt-svc", "tax-svc", "allow", "uses"),
    ]


def test_all_traffic_goes_to_the_instances_of_one_release():
    body = bodies()["service-resolver"]
    assert body["DefaultSubset"] == "r1"
    assert body["Subsets"] == {"r1": {"Filter": 'Service.Meta.release == "r1"', "OnlyPassing": True}}
