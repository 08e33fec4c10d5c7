"""What runs elsewhere is reached through the egress, by rules like any other's, and never taken over from others."""

from __future__ import annotations

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.plan.change import Action, ForeignObjectError
from hms_nomad.plan.observed import Observed, ObservedEntry
from hms_nomad.plan.outside import ObservedOutside, plan_outside, without_link
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.loader import examine
from hms_nomad.workflows.planning.render import render, render_hcl
from tests.unit.specs import spec

NOTHING = Observed(job=None, entries={}, intentions={})
GONE = {"image": None, "routes": None, "scaling": None}
FILE = (
    b"kind: external\nname: db\nversion: '15'\nhost: db.agency.gov\nport: 5432\nprotocol: tcp\nallow: [pay]\nowner: x\n"
)


def db(**changes):
    fields = {"kind": "external", "name": "db", "version": "15", "host": "db.agency.gov", "port": 5432}
    return spec(**(GONE | fields | {"protocol": "tcp", "allow": ["payment-svc"]} | changes))


def egress(*links, owner=OWNER):
    body = {"Kind": "terminating-gateway", "Name": "hms-egress", "Meta": {OWNER_KEY: owner}, "Services": list(links)}
    return ObservedEntry(body, 7)


def plan_of(one, registered=None, entry=None, observed=NOTHING):
    return plan_outside(compile_spec(one, Platform()), observed, ObservedOutside(registered or {}, entry))


def stored(one):
    """What the servers hold after a deploy."""
    first = plan_of(one)
    bodies = {(c.kind, c.name): c.body for c in first.changes}
    place = bodies.pop(("catalog-registration", "db"))
    link = bodies.pop(("terminating-gateway", "hms-egress"))
    intentions = bodies.pop(("service-intentions", "db"))
    return (
        {place["Node"]: (place["Address"], place["Port"], place["Meta"])},
        ObservedEntry(link, 7),
        Observed(
            job=None,
            entries={key: ObservedEntry(body, 5) for key, body in bodies.items()},
            intentions={"db": ObservedEntry(intentions, 5)},
        ),
    )


def test_the_rules_come_first_then_the_place_then_the_way():
    plan = plan_of(db())
    assert [(change.kind, change.action) for change in plan.changes] == [
        ("service-defaults", Action.CREATE),
        ("service-intentions", Action.CREATE),
        ("catalog-registration", Action.CREATE),
        ("terminating-gateway", Action.CREATE),
    ]
    assert plan.changes[2].body["Node"] == "hms-external-db"
    assert plan.changes[3].body["Services"] == [{"Name": "db"}]


def test_the_same_spec_again_changes_nothing():
    registered, entry, observed = stored(db())
    assert plan_of(db(), registered, entry, observed).empty


def test_a_moved_host_changes_the_place_and_not_the_way():
    registered, entry, observed = stored(db())
    plan = plan_of(db(host="db2.agency.gov"), registered, entry, observed)
    assert [change.kind for change in plan.effective] == ["service-defaults", "catalog-registration"]
    assert {field.path: field.after for field in plan.effective[1].fields}["Address"] == "db2.agency.gov"


def test_tls_is_said_to_the_egress():
    links = plan_of(db(tls={"ca_file": "/etc/ssl/ca.pem"})).changes[-1].body["Services"]
    assert links == [{"Name": "db", "CAFile": "/etc/ssl/ca.pem", "SNI": "db.agency.gov"}]
    named = db(tls={"ca_file": "/etc/ssl/ca.pem", "server_name": "pg.agency.gov"})
    assert plan_of(named).changes[-1].body["Services"][0]["SNI"] == "pg.agency.gov"


def test_others_behind_the_egress_stay():
    other = {"Name": "mail", "CAFile": "/ca.pem"}
    body = plan_of(db(), entry=egress(other)).changes[-1].body
    assert body["Services"] == [{"Name": "db"}, other]
    assert without_link(body, "db")["Services"] == [other]


@pytest.mark.parametrize(
    ("registered", "entry"),
    [
        ({"node-1": ("10.0.0.1", 5432, {})}, None),
        ({"hms-external-db": ("10.0.0.1", 5432, {})}, None),
        ({}, egress(owner="somebody")),
    ],
)
def test_what_is_not_ours_is_left_alone(registered, entry):
    with pytest.raises(ForeignObjectError):
        plan_of(db(), registered, entry)


def test_http_from_outside_has_routes_limits_and_retries():
    desired = compile_spec(db(protocol="http", routes=[{"path": "/v1", "methods": ["GET"]}]), Platform())
    assert [entry.kind for entry in desired.entries] == ["service-defaults", "service-router"]
    assert desired.permissions == ({"Action": "allow", "HTTP": {"PathPrefix": "/v1", "Methods": ["GET"]}},)


def test_a_platform_without_an_egress_says_so():
    with pytest.raises(PlatformError, match="has no egress"):
        compile_spec(db(), Platform(egress=None))


def test_render_shows_entries_and_no_job():
    shown = render(db(), Platform())
    assert shown["nomad"] == {}
    assert [entry["Kind"] for entry in shown["consul"]] == [
        "service-defaults",
        "service-intentions",
        "terminating-gateway",
    ]
    assert shown["registry"]["url"] == "tcp://db.mesh:5432"
    with pytest.raises(PlatformError, match="runs elsewhere"):
        render_hcl(db(), Platform())


def findings(text, *codes):
    return [one.code for one in examine(text, "db.hms.yml").diagnostics if not codes or one.code in codes]


def test_a_whole_file_has_nothing_to_say():
    assert findings(FILE) == []


def test_what_an_external_service_cannot_have_is_refused():
    assert findings(FILE + b"image: a/b:1\nscaling: {min: 2}\n", "HMS270") == ["HMS270", "HMS270"]
    assert findings(FILE.replace(b"host: db.agency.gov\n", b""), "HMS102") == ["HMS102"]
    http = FILE.replace(b"protocol: tcp", b"routes: [{path: /v1, public: true}]")
    assert findings(http, "HMS281") == ["HMS281"]
    assert findings(FILE.replace(b"db.agency.gov", b"localhost"), "HMS282") == ["HMS282"]
    assert findings(b"name: a-svc\nversion: '1'\nimage: a/b:1\nport: 80\nhost: x.gov\n", "HMS270") == ["HMS270"]
