"""Public routes become http-routes of one rule each and one right of the gateway, and nothing else becomes public."""

from __future__ import annotations

from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import OWNER
from hms_nomad.compile.http_routes import PROBE_HEADER, PROBE_PATH, is_headed, is_last_resort, probe_version
from hms_nomad.plan.change import Action
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.plan.normal import entry_differences
from hms_nomad.plan.observed import Observed, ObservedEntry
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Gateway
from tests.unit.specs import spec

NOTHING = Observed(job=None, entries={}, intentions={})
PUBLIC = {"path": "/receipt", "methods": ["POST"], "public": True, "match": "exact"}


def routes_of(*routes, platform=None, **fields):
    desired = compile_spec(spec(routes=list(routes), **fields), platform or Platform())
    return [entry.body for entry in desired.entries if entry.kind == "http-route"]


def rules_of(*routes, **fields):
    """The rules of ordinary requests, without last resorts."""
    rules = [rule for body in routes_of(*routes, **fields) for rule in body["Rules"]]
    return [rule for rule in rules if not is_last_resort(rule) | is_headed(rule)]


def gateway_source(*routes):
    desired = compile_spec(spec(routes=list(routes)), Platform())
    merged = merged_intentions(desired, {}, {})["receipt-svc"]
    return {source["Name"]: source for source in merged["Sources"]}.get("hms-gateway")


def matches(rules):
    found = [match for rule in rules for match in rule["Matches"] if match["Path"]["Value"] != PROBE_PATH]
    return [{key: value for key, value in match.items() if key != "Headers"} for match in found]


def test_a_service_without_public_routes_has_no_way_through_the_gateway():
    assert routes_of({"path": "/receipt"}) == []
    assert gateway_source({"path": "/receipt"}) is None


def test_each_method_of_a_public_route_is_a_match_of_its_own():
    routes = (
        {"path": "/receipt", "methods": ["GET", "POST"], "public": True, "match": "exact"},
        {"path": "/r/[0-9]+", "match": "regex", "public": True},
        {"path": "/inside"},
    )
    same = {"mesh": {"retry_on": ["connect-failure"]}}
    assert matches(rules_of(*routes, **same)) == [
        {"Method": "GET", "Path": {"Match": "exact", "Value": "/receipt"}},
        {"Method": "POST", "Path": {"Match": "exact", "Value": "/receipt"}},
        {"Path": {"Match": "regex", "Value": "/r/[0-9]+"}},
    ]
    for body in routes_of(*routes, **same):
        assert body["Parents"] == [{"Kind": "api-gateway", "Name": "hms-gateway", "SectionName": "http"}]
        assert body["Meta"] == {"managed-by": OWNER}


def test_what_may_not_be_carried_out_twice_is_not_repeated_by_the_gateway_either():
    rules = rules_of({"path": "/receipt", "methods": ["POST", "GET"], "public": True})
    retried = {rule["Matches"][0].get("Method"): (rule.get("Filters") or {}).get("RetryFilter") for rule in rules}
    assert "gateway-error" in retried["GET"]["RetryOn"]
    assert retried["POST"]["RetryOn"] == ["connect-failure", "refused-stream"]


def test_a_public_path_says_405_to_other_methods_unless_another_route_may_answer_them():
    def closed(*routes):
        rules = [rule for body in routes_of(*routes) for rule in body["Rules"] if is_last_resort(rule)]
        return [
            (rule["Matches"][0]["Path"]["Value"], rule["ResponseFilters"]["Headers"][0]["Set"]["x-hms-allow"])
            for rule in rules
        ]

    wide = {"path": "/api", "methods": ["GET"], "public": True}
    deep = {"path": "/api/v2", "methods": ["POST"], "public": True}
    assert closed(PUBLIC, {"path": "/receipt", "methods": ["GET"], "match": "exact"}) == [("/receipt", "POST")]
    assert closed(wide, deep) == [("/api", "GET")]
    assert closed(PUBLIC, {"path": "/other", "public": True}) == [("/receipt", "POST")]
    assert closed(PUBLIC, {"path": "/r/[0-9]+", "match": "regex", "public": True}) == []


def test_timeouts_and_retries_come_along_because_the_gateway_skips_the_router():
    desired = compile_spec(spec(routes=[PUBLIC | {"timeout": "2s"}], mesh={"retries": 3}), Platform())
    bodies = {entry.kind: entry.body for entry in desired.entries}
    destination = bodies["service-router"]["Routes"][0]["Destination"]
    (rule,) = rules_of(PUBLIC | {"timeout": "2s"}, mesh={"retries": 3})
    filters = rule["Filters"]
    assert filters["TimeoutFilter"] == {"RequestTimeout": destination["RequestTimeout"]}
    assert filters["RetryFilter"]["NumRetries"] == destination["NumRetries"] == 3


def test_the_gateway_may_do_what_is_public_and_is_denied_the_rest_by_name():
    source = gateway_source({"path": "/api/admin"}, {"path": "/api", "methods": ["GET"], "public": True})
    assert source["Permissions"] == [
        {"Action": "deny", "HTTP": {"PathPrefix": "/api/admin"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/api", "Methods": ["GET"]}},
        {"Action": "deny", "HTTP": {"PathPrefix": "/"}},
    ]
    assert "Action" not in source


def test_a_caller_that_is_also_the_gateway_keeps_the_wider_right():
    desired = compile_spec(spec(routes=[PUBLIC, {"path": "/inside"}], allow=["hms-gateway"]), Platform())
    sources = {s["Name"]: s for s in merged_intentions(desired, {}, {})["receipt-svc"]["Sources"]}
    assert len(sources["hms-gateway"]["Permissions"]) == 2


def test_another_services_deploy_leaves_the_gateways_right_alone():
    stored = {"receipt-svc": merged_intentions(compile_spec(spec(routes=[PUBLIC]), Platform()), {}, {})["receipt-svc"]}
    caller = compile_spec(spec(name="payment-svc", uses=["receipt-svc"]), Platform())
    merged = merged_intentions(caller, stored, {})["receipt-svc"]
    before = {s["Name"]: s for s in stored["receipt-svc"]["Sources"]}
    after = {s["Name"]: s for s in merged["Sources"]}
    assert after["hms-gateway"] == before["hms-gateway"]
    assert "payment-svc" in after


def test_the_route_is_opened_last_and_closed_first():
    desired = compile_spec(spec(routes=[PUBLIC]), Platform())
    first = make_plan(desired, NOTHING)
    assert [change.kind for change in first.changes][-4:] == ["job", "http-route", "http-route", "http-route"]
    stored = {(e.kind, e.name): ObservedEntry(e.body, 5) for e in desired.entries}
    closed = compile_spec(spec(routes=[PUBLIC | {"public": False}]), Platform())
    plan = make_plan(closed, Observed(job=None, entries=stored, intentions={}))
    assert {c.action for c in plan.changes if c.kind == "http-route"} == {Action.DELETE}


def test_a_service_behind_the_gateway_keeps_a_splitter_with_all_traffic_in_one_part():
    desired = compile_spec(spec(routes=[PUBLIC]), Platform())
    bodies = {entry.kind: entry.body for entry in desired.entries}
    assert bodies["service-splitter"]["Splits"] == [{"Weight": 100, "ServiceSubset": desired.release}]
    private = compile_spec(spec(), Platform())
    assert "service-splitter" not in {entry.kind for entry in private.entries}


def test_what_consul_adds_to_a_route_is_no_difference():
    body, *_ = routes_of(PUBLIC)
    nulls = {"Headers": None, "URLRewrite": None, "RetryFilter": None, "TimeoutFilter": None, "JWT": None}
    stored = {
        **body,
        "Hostnames": None,
        "Status": {"Conditions": [{"Type": "Bound", "Status": "True"}]},
        "ModifyIndex": 9,
        "Rules": [
            {
                **rule,
                "Filters": nulls | _as_stored(rule.get("Filters", {})),
                "ResponseFilters": {"Headers": None, **rule.get("ResponseFilters", {})},
                "Services": [{**service, "Filters": nulls} for service in rule["Services"]],
                "Matches": [{"Headers": None, "Query": None, "Method": "", **match} for match in rule["Matches"]],
            }
            for rule in body["Rules"]
        ],
    }
    assert entry_differences(stored, body) == ()


def test_the_probe_names_the_version_of_the_route():
    versions = [probe_version(body) for body in routes_of(PUBLIC)]
    others = [probe_version(body) for body in routes_of(PUBLIC | {"timeout": "7s"})]
    assert [name.partition(".")[0] for name in versions] == ["receipt-svc_canary", "receipt-svc", "receipt-svc"]
    assert len({*versions, *others[:2]}) == 5, "other filters make another version"
    assert versions[2] == others[2]
    last = routes_of(PUBLIC)[1]["Rules"][0]["Matches"][-1]
    assert (last["Path"]["Value"], last["Headers"][0]["Name"]) == (PROBE_PATH, PROBE_HEADER)
    assert probe_version({"Rules": [{"Matches": [{"Path": {"Match": "exact", "Value": "/"}}]}]}) == ""


def test_a_platform_without_a_gateway_opens_nothing():
    assert routes_of(PUBLIC, platform=Platform(gateway=None)) == []


def test_the_gateways_name_is_the_platforms():
    bodies = routes_of(PUBLIC, platform=Platform(gateway=Gateway(name="front-door")))
    assert {body["Parents"][0]["Name"] for body in bodies} == {"front-door"}


def _as_stored(filters):
    stored = dict(filters)
    if "TimeoutFilter" in stored:
        stored["TimeoutFilter"] = {"RequestTimeout": 60_000_000_000, "IdleTimeout": 0}
    if "RetryFilter" in stored:
        stored["RetryFilter"] = {"RetryOnStatusCodes": None, "RetryOnConnectFailure": None, **stored["RetryFilter"]}
    return stored
