"""Hosts, tokens, rewritten paths, headers and limits of routes, as Consul and its sidecars get them."""

from __future__ import annotations

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.compile.gateway import provider_entry
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.platform.model_proxies import Gateway, JwtProvider
from hms_nomad.sections.reading import read
from tests.unit.specs import spec

PROVIDER = JwtProvider(name="agency", issuer="https://idp", jwks="{}")
PLATFORM = Platform(gateway=Gateway(jwt=(PROVIDER,)))
ROUTE = {"path": "/v1", "methods": ["GET"], "public": True}


def entries_of(**fields):
    """Bodies by kind, that of the first http-route for ordinary requests, and everything."""
    desired = compile_spec(spec(**fields), PLATFORM)
    own = [entry for entry in desired.entries if entry.name.partition(".")[0] == desired.service]
    return {entry.kind: entry.body for entry in reversed(own)}, desired


def test_a_token_is_asked_of_the_gateway_only():
    asked = {"jwt": {"provider": "agency", "claims": {"realm.role": "auditor"}}}
    entries, desired = entries_of(routes=[ROUTE], gateway=asked, allow=["tax-portal"])
    sources = {one["Name"]: one for one in merged_intentions(desired, {}, {})["receipt-svc"]["Sources"]}
    claims = [{"Path": ["realm", "role"], "Value": "auditor"}]
    assert sources["hms-gateway"]["Permissions"][0]["JWT"] == {
        "Providers": [{"Name": "agency", "VerifyClaims": claims}]
    }
    assert "JWT" not in sources["tax-portal"]["Permissions"][0]
    answer = entries["http-route"]["Rules"][0]["ResponseFilters"]["Headers"][0]["Set"]
    assert answer["x-hms-token"] == "agency"


def test_tokens_of_nobody_known_are_refused_in_words():
    with pytest.raises(PlatformError, match=r"asks for tokens of other, .* names: agency"):
        compile_spec(spec(routes=[ROUTE], gateway={"jwt": {"provider": "other"}}), PLATFORM)


def test_keys_by_url_are_found_by_dns_which_consul_must_be_told():
    local = provider_entry(PROVIDER).body
    assert local["JSONWebKeySet"] == {"Local": {"JWKS": "e30="}}
    remote = provider_entry(JwtProvider(name="a", issuer="i", jwks_url="https://idp/keys")).body
    assert remote["JSONWebKeySet"]["Remote"]["JWKSCluster"] == {"DiscoveryType": "STRICT_DNS"}
    with pytest.raises(ValueError, match="name one of the two"):
        read(JwtProvider, {"name": "a", "issuer": "i"})


def test_hosts_are_the_routes_own():
    entries, _ = entries_of(routes=[ROUTE], gateway={"hosts": ["API.agency.gov"]})
    assert entries["http-route"]["Hostnames"] == ["api.agency.gov"]


def test_rights_are_of_the_path_that_the_instance_gets():
    entries, desired = entries_of(routes=[ROUTE | {"rewrite": "/internal"}], allow=["tax-portal"])
    assert entries["service-router"]["Routes"][0]["Destination"]["PrefixRewrite"] == "/internal"
    assert entries["http-route"]["Rules"][0]["Filters"]["URLRewrite"] == {"Path": "/internal"}
    rights = {"Action": "allow", "HTTP": {"PathPrefix": "/internal", "Methods": ["GET"]}}
    probed = {"Action": "deny", "HTTP": {"PathPrefix": "/", "Header": [{"Name": "x-hms-nomad-route", "Present": True}]}}
    for source in merged_intentions(desired, {}, {})["receipt-svc"]["Sources"]:
        assert source["Name"] == "*" or rights in source["Permissions"]
        # The service would answer a probe whose path is rewritten to its own.
        assert (source["Name"] == "hms-gateway") == (source.get("Permissions", [None])[0] == probed)
    caller = compile_spec(spec(name="payment-svc", uses=["receipt-svc"]), PLATFORM)
    merged = merged_intentions(caller, {}, {"receipt-svc": entries["service-router"]})["receipt-svc"]
    assert merged["Sources"][0]["Permissions"] == [rights]


def test_headers_are_changed_in_the_mesh_and_at_the_gateway():
    headers = {"request": {"set": {"X-Part": "50%"}, "remove": ["X-Old"]}, "response": {"remove": ["Server"]}}
    entries, _ = entries_of(routes=[ROUTE | {"headers": headers}])
    destination = entries["service-router"]["Routes"][0]["Destination"]
    assert destination["RequestHeaders"] == {"Set": {"x-part": "50%%"}, "Remove": ["x-old"]}
    assert destination["ResponseHeaders"]["Remove"] == ["server"]
    assert destination["ResponseHeaders"]["Set"] == {"x-request-id": "%REQ(x-request-id)%"}
    assert entries["http-route"]["Rules"][0]["Filters"]["Headers"] == [destination["RequestHeaders"]]


def test_a_limit_is_kept_by_a_script_of_the_instances_sidecar():
    assert "EnvoyExtensions" not in entries_of(routes=[ROUTE])[0]["service-defaults"]
    entries, _ = entries_of(routes=[ROUTE | {"limit": "10/m"}, {"path": "/rest"}])
    (extension,) = entries["service-defaults"]["EnvoyExtensions"]
    script = extension["Arguments"]["Script"]
    assert 'path = "/v1", methods = {GET = true}, most = 10, every = 60000, said = "10/m"' in script
    assert '{path = "/rest"}' in script
