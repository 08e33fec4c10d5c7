"""What the platform's Prometheus recorded of sidecars reads like their own pages, and is marked as recorded."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.prometheus import Sample
from hms_nomad.workflows.platform import telemetry

LISTENER = {"envoy_http_conn_manager_prefix": "public_listener", "allocation": "0123abcd"}
ROWS = (
    Sample({"__name__": "envoy_http_downstream_rq_xx", "envoy_response_code_class": "2", **LISTENER}, 40.0),
    Sample({"__name__": "envoy_http_downstream_rq_xx", "envoy_response_code_class": "5", **LISTENER}, 2.0),
    Sample({"__name__": "envoy_http_downstream_rq_time_bucket", "le": "+Inf", **LISTENER}, 42.0),
    Sample({"__name__": "envoy_server_uptime", "allocation": "0123abcd"}, 300.0),
)


def client(monkeypatch, answer):
    asked = []

    def query(expression):
        asked.append(expression)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextlib.contextmanager
    def found(session):
        yield None if answer is None else SimpleNamespace(query=query)

    monkeypatch.setattr(telemetry, "prometheus", found)
    return asked


def test_counts_of_one_release_come_by_allocation(monkeypatch):
    asked = client(monkeypatch, ROWS)
    (sample,) = telemetry.recorded(None, "receipt-svc")("r1").values()
    assert 'service="receipt-svc",release="r1"' in asked[0]
    assert sample.requests == {"2xx": 40, "5xx": 2}
    assert (sample.latency[0].count, sample.uptime_seconds, sample.recorded) == (42, 300, True)


def test_without_a_prometheus_that_answers_nothing_is_recorded(monkeypatch):
    client(monkeypatch, None)
    assert telemetry.recorded(None, "receipt-svc")("r1") == {}
    client(monkeypatch, UnavailableError("prometheus", "query", "http://10.0.0.1:9090", "no connection"))
    assert telemetry.recorded(None, "receipt-svc")("r1") == {}
