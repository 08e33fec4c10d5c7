"""Each http-route has one rule with one name, and the order of rules is said by themselves."""

from __future__ import annotations

import itertools
from functools import cmp_to_key

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.compile.canary import ROUTED_HEADER, owner_of
from hms_nomad.compile.desired import ConfigEntry
from hms_nomad.compile.http_routes import PROBE_PATH, in_one_rule_form, is_headed, probe_match, probe_version
from hms_nomad.plan.change import Action
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import Observed, ObservedEntry
from hms_nomad.platform.model import Platform
from tests.unit.specs import spec

SERVICE = "receipt-svc"
GET = {"path": "/a", "methods": ["GET"], "public": True}
ANY = {"path": "/a", "public": True, "timeout": "3s"}
EXACT = {"path": "/a", "match": "exact", "public": True, "timeout": "5s"}
REGEX = {"path": "/.", "match": "regex", "public": True, "timeout": "7s"}
DEEP = {"path": "/a/b", "methods": ["POST"], "public": True}


def desired_of(*routes, **fields):
    return compile_spec(spec(routes=list(routes), **fields), Platform())


def routes_of(*routes, **fields):
    return [entry.body for entry in desired_of(*routes, **fields).entries if entry.kind == "http-route"]


def as_consul_orders(bodies):
    """Matches with their bodies as Consul (1.20) puts them: by length of the path, then by number of headers."""

    def first(one, other):
        (left, _), (right, _) = one, other
        by_path = len(right["Path"]["Value"]) - len(left["Path"]["Value"])
        return by_path or len(right.get("Headers") or ()) - len(left.get("Headers") or ())

    found = [(match, body) for body in bodies for rule in body["Rules"] for match in rule["Matches"]]
    return sorted(found, key=cmp_to_key(first))


def answered_by(bodies, path, method, *, asking=False):
    """What an http-route's rule says to a request, whatever the order in which the entries were bound."""
    turned = [[*bodies[place:], *bodies[:place]] for place in range(len(bodies))]
    answers = {str(first_fit(order, path, method, asking)) for order in (*turned, *(one[::-1] for one in turned))}
    assert len(answers) == 1, "it hangs on the order of binding"
    return first_fit(bodies, path, method, asking)


def first_fit(bodies, path, method, asking):
    for match, body in as_consul_orders(bodies):
        kind, value = match["Path"]["Match"], match["Path"]["Value"]
        fits = {"prefix": path.startswith(value), "exact": path == value, "regex": len(path) == len(value)}[kind]
        headers = [header for header in match.get("Headers") or () if header["Name"] != ":path"]
        wanted = [dict(ROUTED_HEADER)] if asking else []
        if fits and match.get("Method", method) == method and all(header in wanted for header in headers):
            return body["Rules"][0]
    return None


def limit(rule):
    return (rule.get("Filters") or {}).get("TimeoutFilter", {}).get("RequestTimeout")


def test_each_has_one_rule_with_one_name():
    bodies = routes_of(GET, EXACT, REGEX, DEEP)
    assert {len(body["Rules"]) for body in bodies} == {1}
    assert {len(body["Rules"][0]["Services"]) for body in bodies} == {1}
    assert {owner_of(body["Name"]) for body in bodies} == {SERVICE}
    assert len({body["Name"] for body in bodies}) == len(bodies)


def test_rules_with_the_same_filters_share_one():
    one = {"path": "/a", "methods": ["POST", "PATCH"], "match": "exact", "public": True}
    other = {"path": "/b", "methods": ["POST"], "match": "exact", "public": True}
    bodies = routes_of(one, other)
    assert [body["Name"].partition(".")[0] for body in bodies] == [f"{SERVICE}_canary", SERVICE, SERVICE, SERVICE]


@pytest.mark.parametrize("asking", [False, True])
def test_the_spec_decides_which_route_of_an_equally_long_path_answers(asking):
    for routes in itertools.permutations([GET, ANY, EXACT]):
        bodies = routes_of(*routes)
        rule = answered_by(bodies, "/a", "GET", asking=asking)
        assert is_headed(rule) == asking
        fit = routes[0]
        assert limit(rule) == limit(first_fit(routes_of(fit), "/a", "GET", asking)), routes


def test_a_regular_expression_takes_its_turn_too():
    for routes in itertools.permutations([REGEX, EXACT]):
        rule = answered_by(routes_of(*routes), "/a", "DELETE")
        assert limit(rule) == limit(first_fit(routes_of(routes[0]), "/a", "DELETE", asking=False))


def test_the_last_resort_comes_after_all_of_its_path_those_of_others_included():
    ours, theirs = routes_of(GET), routes_of({**GET, "methods": ["POST"]}, name="other-svc")
    rule = answered_by([*ours, *theirs], "/a", "POST")
    assert rule["Services"] == [{"Name": "other-svc", "Weight": 1}]


def test_the_new_releases_routes_go_before_those_of_the_old_one():
    old = [body for body in routes_of(GET, ANY, EXACT) if not is_headed(body["Rules"][0])]
    new = [body for body in routes_of(ANY) if is_headed(body["Rules"][0])]
    assert is_headed(answered_by([*new, *old], "/a", "GET", asking=True))


def test_other_filters_change_an_entry_where_it_is_and_other_matches_make_another_one():
    def names(*routes):
        return {body["Name"] for body in routes_of(*routes)}

    assert names(GET) == names(GET | {"timeout": "9s"})
    (last,) = names(GET) & names(GET | {"methods": ["PUT"]})
    assert last.startswith(f"{SERVICE}.405-"), "nothing is opened in the place of something else"


def older_of(desired):
    """The same with the one http-route of several rules that earlier versions wrote, as Consul stores it."""
    bodies = [entry.body for entry in desired.entries if entry.kind == "http-route"]
    empty = {"Headers": None, "Query": None, "Method": ""}
    rules = []
    for rule in (rule for body in bodies for rule in body["Rules"]):
        asked = [dict(ROUTED_HEADER)] if is_headed(rule) else None
        matches = [match for match in rule["Matches"] if match["Path"]["Value"] != PROBE_PATH]
        filters = {"Headers": None, "JWT": None, **rule.get("Filters", {})}
        rules.append(
            {**rule, "Filters": filters, "Matches": [{**empty, **match, "Headers": asked} for match in matches]}
        )
    services = [{"Name": SERVICE, "Weight": 1, "Filters": {"Headers": None}}]
    rules.append({"Filters": {"Headers": None}, "Matches": [probe_match("receipt-svc.1")], "Services": services})
    body = {**bodies[0], "Name": SERVICE, "Rules": rules, "Hostnames": None}
    others = [entry for entry in desired.entries if entry.kind != "http-route"]
    return (*others, ConfigEntry("http-route", SERVICE, body))


def test_what_an_earlier_version_kept_of_a_release_is_brought_to_the_present_form():
    desired = desired_of(GET, ANY, EXACT, DEEP)
    assert in_one_rule_form(SERVICE, older_of(desired)) == desired.entries
    assert in_one_rule_form(SERVICE, desired.entries) == desired.entries


def test_what_an_earlier_version_wrote_goes_after_the_new_ones_have_come():
    desired = desired_of(GET)
    stored = {(entry.kind, entry.name): ObservedEntry(entry.body, 7) for entry in older_of(desired)}
    plan = make_plan(desired, Observed(None, stored, {}))
    assert [
        (change.action, change.name.partition(".")[0]) for change in plan.changes if change.kind == "http-route"
    ] == [
        (Action.CREATE, f"{SERVICE}_canary"),
        (Action.CREATE, SERVICE),
        (Action.CREATE, SERVICE),
        (Action.DELETE, SERVICE),
    ]
    assert plan.changes[-1].name == SERVICE


def test_the_probe_of_an_entry_names_it():
    for body in routes_of(GET):
        assert probe_version(body).startswith(f"{body['Name']}.")
