"""Where the platform names a collector, the proxies tell it of each request; elsewhere nothing moves."""

from __future__ import annotations

import json

import pytest

from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Gateway, Tracing
from hms_nomad.sections.reading import MisfitError, read
from tests.unit.gateway.test_gateway_job import compiled, listener_of
from tests.unit.specs import spec

COLLECTOR = "http://otel.agency.gov:4318/v1/traces"


def config(platform: Platform) -> dict:
    service = compile_spec(spec(), platform).job["TaskGroups"][0]["Services"][0]
    return service["Connect"]["SidecarService"]["Proxy"]["Config"]


def test_without_a_collector_sidecars_are_as_they_were():
    assert not [key for key in config(Platform()) if "tracing" in key or "clusters" in key]


def test_a_sidecar_tells_the_collector_under_the_services_name_and_follows_what_callers_decided():
    found = config(Platform(tracing=Tracing(otlp=COLLECTOR, sample=2.5)))
    tracer = json.loads(found["envoy_tracing_json"])["http"]["typed_config"]
    assert tracer["service_name"] == "receipt-svc"
    assert tracer["http_service"]["http_uri"]["uri"] == COLLECTOR
    assert tracer["sampler"]["name"].endswith(".parent_based")
    share = tracer["sampler"]["typed_config"]["wrapped_sampler"]["typed_config"]["sampling_percentage"]
    assert share == {"numerator": 25_000, "denominator": "MILLION"}
    cluster = json.loads(found["envoy_extra_static_clusters_json"])
    assert cluster["name"] == tracer["http_service"]["http_uri"]["cluster"]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "otel.agency.gov", "port_value": 4318}


def test_a_collector_makes_a_new_release_and_its_absence_none():
    assert compile_spec(spec(), Platform()).release == compile_spec(spec(), Platform(tracing=None)).release
    traced = Platform(tracing=Tracing(otlp=COLLECTOR))
    assert compile_spec(spec(), traced).release != compile_spec(spec(), Platform()).release


def test_the_gateway_decides_itself_and_leaves_the_requests_id_alone():
    bootstrap, listener = listener_of(compiled(Gateway(), tracing=Tracing(otlp=COLLECTOR, sample=10)))
    tracing = listener["filter_chains"][0]["filters"][0]["typed_config"]["tracing"]
    assert tracing["random_sampling"] == {"value": 0}
    assert tracing["provider"]["typed_config"]["sampler"]["name"].endswith(".trace_id_ratio_based")
    assert "otlp" in [cluster["name"] for cluster in bootstrap["static_resources"]["clusters"]]
    plain, listener = listener_of(compiled(Gateway()))
    assert "tracing" not in listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert "otlp" not in [cluster["name"] for cluster in plain["static_resources"]["clusters"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"otlp": "otel:4318"},
        {"otlp": "https://otel:4318/v1/traces"},
        {"otlp": "http://otel:4318"},
        {"otlp": COLLECTOR, "sample": 101},
    ],
)
def test_what_is_no_collector_is_refused(fields):
    with pytest.raises(MisfitError):
        read(Tracing, fields)
