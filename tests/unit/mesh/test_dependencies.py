"""A dependency answers at its mesh name: HTTP at the port of plain URLs, TCP at the port that it really has."""

from __future__ import annotations

from hms_nomad.compile.job import compile_job
from hms_nomad.compile.names import service_url
from hms_nomad.platform.model import Platform
from hms_nomad.spec.loader import examine
from tests.unit.specs import spec


def group_of(**changes):
    return compile_job(spec(**changes), Platform()).body["TaskGroups"][0]


def test_a_tcp_dependency_keeps_its_port():
    group = group_of(uses=["db", "tax-svc"], tcp={"db": 5432})
    upstreams = group["Services"][0]["Connect"]["SidecarService"]["Proxy"]["Upstreams"]
    ports = {one["DestinationName"]: (one["LocalBindPort"], one["Config"]["protocol"]) for one in upstreams}
    assert ports == {"db": (5432, "tcp"), "tax-svc": (80, "http")}
    environment = group["Tasks"][0]["Env"]
    assert environment["HMS_DB_URL"] == "tcp://db.mesh:5432"
    assert environment["HMS_TAX_SVC_URL"] == "http://tax-svc.mesh"


def test_the_url_of_a_tcp_service_says_so():
    assert service_url(spec(protocol="tcp", port=5432, routes=None), Platform()) == "tcp://receipt-svc.mesh:5432"


def test_a_tcp_dependency_must_be_one():
    text = b"name: a-svc\nversion: '1'\nimage: a/b:1\nport: 80\ntcp: {db: 5432}\n"
    errors = [one for one in examine(text, "a.hms.yml").diagnostics if one.code == "HMS280"]
    assert [str(one) for one in errors] == [
        "a.hms.yml:5:7: error [HMS280] tcp names db, which uses does not; add the name to uses, or remove it from tcp"
    ]
