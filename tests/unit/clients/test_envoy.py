"""Prometheus pages -> samples, whatever is missing from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_nomad.clients import envoy
from hms_nomad.clients.envoy import EnvoyStats, sample_from
from hms_nomad.clients.errors import InvalidRequestError, UnavailableError
from hms_nomad.clients.prometheus_text import Metric, parse_metrics
from tests.wire import Answer, Wire

PAGE = """\
# TYPE envoy_http_downstream_rq_xx counter
envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="public_listener"} 41
envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="public_listener",x="y"} 1
envoy_http_downstream_rq_xx{envoy_response_code_class="5",envoy_http_conn_manager_prefix="public_listener"} 3
envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="upstream"} 1000
# TYPE envoy_http_downstream_rq_time histogram
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="public_listener",le="5"} 40
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="public_listener",le="0.5"} 10
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="public_listener",le="+Inf"} 45
envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix="public_listener"} 123.5
envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="public_listener"} 45
envoy_control_plane_connected_state{} 1
envoy_cluster_manager_cds_version{} 17241709254077376921
envoy_cluster_manager_cds_update_success{} 4
envoy_listener_manager_lds_update_success{} 2
envoy_cluster_manager_cds_update_rejected{} 9
envoy_cluster_default_dc1_internal_04216971_consul_membership_total{envoy_cluster_name="db"} 1
envoy_cluster_default_dc1_internal_04216971_consul_ssl_handshake{envoy_cluster_name="db"} 0
envoy_cluster_default_dc1_internal_04216971_consul_membership_total{envoy_cluster_name="mail"} 1
envoy_server_uptime{} 77
"""


def test_a_page_becomes_a_sample() -> None:
    sample = sample_from(parse_metrics(PAGE))

    assert sample.requests == {"2xx": 42, "5xx": 3}
    assert sample.total == 45
    assert [(bucket.up_to_ms, bucket.count) for bucket in sample.latency] == [(0.5, 10), (5.0, 40), (math.inf, 45)]
    assert sample.connected is True
    assert sample.config_updates == {"cds": 4, "lds": 2}
    assert sample.config_versions == {"cds": 17241709254077376921}
    assert sample.config_refusals == {"cds": 9}
    assert sample.ways == {"db": True, "mail": False}
    assert sample.uptime_seconds == 77


def test_a_page_without_anything_becomes_an_empty_sample() -> None:
    sample = sample_from(())

    assert (sample.requests, sample.total, sample.latency) == ({}, 0, ())
    assert (sample.connected, sample.config_updates, sample.config_versions) == (None, {}, {})
    assert sample.uptime_seconds is None


def test_a_sidecar_that_lost_consul_is_not_connected() -> None:
    assert sample_from(parse_metrics("envoy_control_plane_connected_state 0")).connected is False


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a 1", Metric("a", {}, "1")),
        ("a{} 1", Metric("a", {}, "1")),
        ("  a:b_2 \t 1.5  1700000000000 ", Metric("a:b_2", {}, "1.5")),
        ('a{b="c",d="",} -Inf', Metric("a", {"b": "c", "d": ""}, "-Inf")),
        ('a { b = "c" , d = "e" } NaN', None),
        (r'a{b="x\"y\\z\n}{,="} 3', Metric("a", {"b": 'x"y\\z\n}{,='}, "3")),
    ],
)
def test_lines_of_the_text_format(line: str, expected: Metric | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="line 1"):
            list(parse_metrics(line))
    else:
        assert list(parse_metrics(f"# HELP a b\n\n{line}\n")) == [expected]


@pytest.mark.parametrize("line", ["<html>", "a", "a{b=c} 1", 'a{b="c} 1', "1a 2", 'a{b="c"x} 1'])
def test_a_line_that_is_no_metric_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        list(parse_metrics(f"a 1\n{line}"))


@given(
    labels=st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), st.text(max_size=8), max_size=3),
    value=st.integers(min_value=0, max_value=2**64),
)
def test_any_label_comes_back_as_it_was_written(labels: dict[str, str], value: int) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    written = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())

    (metric,) = parse_metrics(f"m{{{written}}} {value}\n")

    assert metric.labels == labels
    assert metric.count == value


def test_values_are_numbers() -> None:
    assert Metric("a", {}, "+Inf").value == math.inf
    assert math.isnan(Metric("a", {}, "NaN").value)
    assert Metric("a", {}, "1e3").count == 1000
    with pytest.raises(ValueError, match="x"):
        _ = Metric("a", {}, "x").value


def test_a_page_is_asked_for_once_and_filtered() -> None:
    with Wire(Answer(body=PAGE)) as wire:
        sample = EnvoyStats().scrape("127.0.0.1", wire.port)

        assert sample.total == 45
        assert len(wire.questions) == 1
        assert wire.questions[0].path.startswith("/metrics?filter=")


def _refusals() -> Sequence[object]:
    return [
        pytest.param(Answer(status=503, body="no healthy upstream"), id="503"),
        pytest.param(Answer(body="<html></html>"), id="page"),
        pytest.param(Answer(body=PAGE[:-9], declared=5000), id="cut"),
        pytest.param(Answer(drop=True), id="dropped"),
        pytest.param(Answer(hang=True), id="silent"),
        pytest.param(Answer(parts=(PAGE.encode(), b"")), id="endless"),
        pytest.param(Answer(status=302, headers={"Location": "http://elsewhere.example/"}), id="redirect"),
    ]


@pytest.mark.parametrize("answer", _refusals())
def test_a_page_that_cannot_be_read_is_unavailable(answer: Answer) -> None:
    with Wire(answer) as wire:
        with pytest.raises(UnavailableError):
            EnvoyStats(timeout=0.2).scrape("127.0.0.1", wire.port)

        assert len(wire.questions) == 1


def test_a_page_without_end_is_not_collected_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "_LONGEST_PAGE", 1000)
    with Wire(Answer(body=PAGE)) as wire, pytest.raises(UnavailableError, match="does not end"):
        EnvoyStats().scrape("127.0.0.1", wire.port)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        EnvoyStats().scrape("not a host", 9102)
