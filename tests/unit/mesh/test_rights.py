"""Who may call whom: the most exact intention decides, its permissions in order, and else the default of the mesh."""

from __future__ import annotations

import pytest

from hms_nomad.plan.rights import Request, decide, spoken

POST = {"Action": "allow", "HTTP": {"PathExact": "/receipt", "Methods": ["POST"]}}
FILES = {"Action": "allow", "HTTP": {"PathPrefix": "/files"}}
NO_SECRET = {"Action": "deny", "HTTP": {"PathPrefix": "/files/secret"}}
REST = {"Action": "deny", "HTTP": {"PathPrefix": "/"}}


def entries(*sources, destination="receipt-svc", **more):
    return {destination: {"Kind": "service-intentions", "Name": destination, "Sources": list(sources)}, **more}


def allowed(source, rules, request=None, *, default=False):
    return decide(source, "receipt-svc", rules, default, request).allowed


def ask(method, path, **headers):
    return Request(method, path, headers)


def test_an_exact_source_decides_before_everybody_in_any_order():
    for rules in (
        entries({"Name": "*", "Action": "deny"}, {"Name": "pay", "Action": "allow"}),
        entries({"Name": "pay", "Action": "allow"}, {"Name": "*", "Action": "deny"}),
    ):
        assert allowed("pay", rules) is True
        assert allowed("other", rules) is False


def test_an_exact_destination_decides_before_every_destination():
    every = {"*": {"Name": "*", "Sources": [{"Name": "pay", "Action": "deny"}]}}
    assert allowed("pay", entries({"Name": "*", "Action": "allow"}) | every) is True
    assert allowed("pay", every, default=True) is False


def test_nothing_that_speaks_of_it_leaves_it_to_the_default():
    assert allowed("pay", {}) is False
    assert allowed("pay", {}, default=True) is True
    assert "default is deny" in decide("pay", "receipt-svc", {}, default_allow=False).rule


def test_the_first_permission_that_fits_decides():
    rules = entries({"Name": "pay", "Permissions": [NO_SECRET, FILES]})
    assert allowed("pay", rules, ask("GET", "/files/a")) is True
    assert allowed("pay", rules, ask("GET", "/files/secret/a")) is False
    assert allowed("pay", entries({"Name": "pay", "Permissions": [FILES, NO_SECRET]}), ask("GET", "/files/secret/a"))


def test_no_permission_that_fits_leaves_it_to_the_default_and_never_to_another_intention():
    rules = entries({"Name": "pay", "Permissions": [POST]}, {"Name": "*", "Action": "allow"})
    assert allowed("pay", rules, ask("GET", "/receipt")) is False
    assert allowed("pay", rules, ask("GET", "/receipt"), default=True) is True


@pytest.mark.parametrize(
    ("match", "request_", "fits"),
    [
        ({"PathExact": "/receipt"}, ask("GET", "/receipt?x=1"), True),
        ({"PathExact": "/receipt"}, ask("GET", "/receipt/1"), False),
        ({"PathPrefix": "/receipt"}, ask("GET", "/receipts"), True),
        ({"PathRegex": "/r/[0-9]+"}, ask("GET", "/r/12"), True),
        ({"PathRegex": "/r/[0-9]+"}, ask("GET", "/r/12/x"), False),
        ({"PathRegex": "("}, ask("GET", "("), False),
        ({"Methods": ["GET"]}, ask("get", "/"), True),
        ({"Header": [{"Name": "X-Role", "Exact": "auditor"}]}, ask("GET", "/", **{"x-role": "auditor"}), True),
        ({"Header": [{"Name": "X-Role", "Present": True}]}, ask("GET", "/"), False),
        ({"Header": [{"Name": "X-Role", "Present": True, "Invert": True}]}, ask("GET", "/"), True),
        ({"Header": [{"Name": "X-Role", "Regex": "a.*"}]}, ask("GET", "/", **{"X-Role": "auditor"}), True),
    ],
)
def test_a_permission_fits_as_the_sidecar_matches(match, request_, fits):
    assert (
        allowed("pay", entries({"Name": "pay", "Permissions": [{"Action": "allow", "HTTP": match}]}), request_) is fits
    )


def test_without_a_request_it_says_what_is_allowed():
    rules = entries({"Name": "pay", "Permissions": [POST, FILES, REST]})
    for default in (False, True):
        decision = decide("pay", "receipt-svc", rules, default)
        assert decision.allowed is None
        assert decision.only == ("POST /receipt", "* /files...")
    narrowed = entries({"Name": "pay", "Permissions": [NO_SECRET]})
    assert decide("pay", "receipt-svc", narrowed, default_allow=True).only == ("everything but * /files/secret...",)
    assert allowed("pay", narrowed) is False
    assert allowed("pay", entries({"Name": "pay", "Permissions": [POST]}), default=True) is True


def test_the_rule_is_named_with_the_fields_that_declared_it():
    source = {"Name": "pay", "Description": "hms-nomad: allow,uses", "Permissions": [POST]}
    decision = decide("pay", "receipt-svc", entries(source), False, ask("POST", "/receipt"))
    assert decision.declared_by == "allow,uses"
    assert decision.rule == "service-intentions receipt-svc: source pay: permission 1: allow POST /receipt"
    assert decide("pay", "receipt-svc", entries({"Name": "pay", "Action": "allow"}), False).declared_by == ""


def test_a_token_that_is_asked_for_is_named():
    jwt = {"JWT": {"Providers": [{"Name": "idp"}]}}
    decision = decide(
        "pay", "receipt-svc", entries({"Name": "pay", "Permissions": [POST | jwt]}), False, ask("POST", "/receipt")
    )
    assert decision.needs == ("a valid token of idp",)


def test_a_source_of_another_mesh_is_not_this_one():
    assert allowed("pay", entries({"Name": "pay", "Peer": "abroad", "Action": "allow"})) is False


def test_permissions_are_said_as_people_say_them():
    assert spoken(POST) == "POST /receipt"
    assert spoken(FILES) == "* /files..."
    assert spoken({"HTTP": {"PathRegex": "/r/.*", "Methods": ["GET"], "Header": [{"Name": "X-Role"}]}}) == (
        "GET ~/r/.* with header X-Role"
    )
