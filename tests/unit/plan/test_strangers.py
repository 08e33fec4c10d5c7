"""Everybody who was not named, where proxies are transparent: refused by a permission, request by request."""

from __future__ import annotations

from hms_nomad.compile import compile_spec
from hms_nomad.plan.intentions import declared_intentions, merged_intentions
from hms_nomad.plan.rights import Request, allowances, decide
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Sidecar
from tests.unit.specs import spec

TRANSPARENT = Platform(sidecar=Sidecar(driver="exec", transparent_proxy=True))
REFUSED = [{"Action": "deny", "HTTP": {"PathPrefix": "/"}}]


def merged(platform, stored=None):
    desired = compile_spec(spec(allow=["tax-portal"]), platform)
    return desired, merged_intentions(desired, stored or {}, {})


def sources(entries):
    return {source["Name"]: source for source in entries["receipt-svc"]["Sources"]}


def test_strangers_have_a_permission_that_refuses_and_callers_keep_theirs():
    found = sources(merged(TRANSPARENT)[1])
    assert found["*"] == {"Name": "*", "Description": "hms-nomad: default", "Permissions": REFUSED}
    assert [one["Action"] for one in found["tax-portal"]["Permissions"]] == ["allow"]
    assert allowances(found["*"]) == ()


def test_the_rules_say_no_to_strangers_as_before():
    _, entries = merged(TRANSPARENT)
    assert decide("bob", "receipt-svc", entries, False).allowed is False
    asked = decide("bob", "receipt-svc", entries, False, Request("POST", "/receipt"))
    assert (asked.allowed, asked.declared_by) == (False, "default")
    assert decide("tax-portal", "receipt-svc", entries, False, Request("POST", "/receipt")).allowed


def test_what_was_declared_is_read_back():
    desired, entries = merged(TRANSPARENT)
    back = declared_intentions("receipt-svc", entries)
    assert {one.source: (one.action, one.permissions) for one in back}["*"] == ("deny", tuple(REFUSED))
    plain, stored = merged(Platform())
    assert {one.source: (one.action, one.permissions) for one in declared_intentions("receipt-svc", stored)} == {
        "*": ("deny", None),
        "tax-portal": ("allow", None),
    }
    assert plain.service == desired.service


def test_callers_that_come_and_go_leave_strangers_refused():
    for platform in (TRANSPARENT, Platform()):
        stored = merged(platform)[1]
        before = sources(stored)["*"]
        caller = compile_spec(spec(name="bob", uses=["receipt-svc"]), platform)
        came = merged_intentions(caller, stored, {})
        assert sources(came)["*"] == before
        assert "bob" in sources(came)
        gone = merged_intentions(compile_spec(spec(name="bob"), platform), came, {})
        assert sources(gone)["*"] == before
        assert "bob" not in sources(gone)
        assert decide("carol", "receipt-svc", gone, False).allowed is False


def test_a_platform_may_change_its_mind():
    _, transparent = merged(TRANSPARENT)
    _, plain = merged(Platform(), transparent)
    assert sources(plain)["*"] == {"Name": "*", "Description": "hms-nomad: default", "Action": "deny"}
    assert sources(merged(TRANSPARENT, plain)[1])["*"]["Permissions"] == REFUSED
