"""A line of a proxy's access log -> a call, one that was refused, or none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hms_nomad.compile.access_log import access_logs, is_access_log, is_probe, read_call, read_request
from hms_nomad.compile.http_routes import PROBE_PATH

DOMAIN = "3625dd69.consul"
RECEIPT = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/receipt-svc"
PAYMENT = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/payment-svc"
CHAIN = f"r27ea160902.receipt-svc.default.dc1.internal.{DOMAIN}"


def line(**fields: Any) -> str:
    names = json.loads(access_logs()["JSONFormat"])
    empty = dict.fromkeys(names)
    return json.dumps(
        {**empty, "hms": 1, "start": "2026-11-25T00:40:57.235Z", "flags": "-", "details": "via_upstream", **fields}
    )


def test_the_callees_sidecar_tells_of_a_call_without_what_stands_behind_the_question_mark() -> None:
    call = read_call(
        line(callee=RECEIPT, caller=PAYMENT, cluster="local_app", path="/receipt?who=jane", status=200), gateway=False
    )

    assert call is not None
    assert (call.kind, call.service, call.caller, call.start) == (
        "access",
        "receipt-svc",
        PAYMENT,
        "2026-11-25T00:40:57.235Z",
    )
    assert call.facts["path"] == "/receipt"
    assert "jane" not in str(call.facts)


def test_the_probe_of_a_deploy_is_told_apart_from_a_refusal_of_somebody_else() -> None:
    def call(caller: str, path: str) -> bool:
        refused = line(callee=RECEIPT, caller=caller, path=path, details="rbac_access_denied_matched_policy[none]")
        found = read_call(refused, gateway=False)
        assert found is not None
        return is_probe(found, "hms-gateway")

    gateway = PAYMENT.replace("payment-svc", "hms-gateway")
    assert call(gateway, PROBE_PATH)
    assert not call(gateway, "/receipt")
    assert not call(PAYMENT, PROBE_PATH)


@pytest.mark.parametrize("field", ["details", "ended"])
def test_a_refusal_by_the_mesh_is_told_as_one_for_requests_and_connections(field: str) -> None:
    call = read_call(
        line(callee=RECEIPT, caller=PAYMENT, **{field: "rbac_access_denied_matched_policy[none]"}), gateway=False
    )

    assert call is not None
    assert (call.kind, call.service) == ("denied", "receipt-svc")


@pytest.mark.parametrize(
    "text",
    [
        line(cluster="local_app", path="/health", status=200),
        line(cluster=CHAIN, status=200),
        "[2026-11-25 00:00:00.000][1][warning] something",
        json.dumps({"start": "2026-11-25T00:00:00Z", "callee": RECEIPT}),
        "[]",
        '"text"',
        "",
    ],
    ids=["health check", "the caller's side", "no JSON", "another format", "list", "text", "empty"],
)
def test_what_is_no_call_is_left_out(text: str) -> None:
    assert read_call(text, gateway=False) is None


def test_a_call_that_reached_no_instance_is_told_by_the_callers_side() -> None:
    call = read_call(line(cluster=CHAIN, flags="UH", status=503), gateway=False)

    assert call is not None
    assert (call.kind, call.service, call.facts["flags"]) == ("call.failed", "receipt-svc", "UH")


def test_the_gateway_tells_who_came_from_outside() -> None:
    call = read_call(line(cluster=CHAIN, status=200, **{"from": "192.0.2.1:4000"}), gateway=True)

    assert call is not None
    assert (call.kind, call.service, call.caller, call.facts["from"]) == (
        "gateway.access",
        "receipt-svc",
        "",
        "192.0.2.1:4000",
    )


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_is_seen_from_both_sides() -> None:
    fields = {"method": "POST", "path": "/receipt?who=jane", "status": 200, "ms": 4, "received": 0, "sent": 19}
    said = {"request_id": "id-1", "trace": TRACE, **fields}
    came = read_request(line(callee=RECEIPT, caller=PAYMENT, cluster="local_app", **said), outgoing=False)
    went = read_request(line(cluster=CHAIN, answered_by=RECEIPT, tries=2, **said), outgoing=True)

    assert came is not None
    assert went is not None
    assert (came.caller, came.caller_id, came.callee, came.callee_id) == (
        "payment-svc",
        PAYMENT,
        "receipt-svc",
        RECEIPT,
    )
    assert (went.caller, went.callee, went.callee_id, went.tries) == ("", "receipt-svc", RECEIPT, 2)
    for one in (came, went):
        assert (one.method, one.path, one.status, one.ms, one.received, one.sent) == ("POST", "/receipt", 200, 4, 0, 19)
        assert (one.request_id, one.trace_id) == ("id-1", "0af7651916cd43dd8448eb211c80319c")
        assert (one.flags, one.denied) == (None, False)


def test_each_direction_leaves_out_the_other_and_what_is_no_request() -> None:
    came, went = line(callee=RECEIPT, caller=PAYMENT), line(cluster=CHAIN)
    health = line(cluster="exposed_cluster_3000", path="/health", status=503, flags="UF")
    assert read_request(came, outgoing=True) is None
    assert read_request(went, outgoing=False) is None
    assert [read_request(text, outgoing=way) for text in (health, "", "[]") for way in (True, False)] == [None] * 6


def test_what_the_mesh_refused_names_the_caller_and_a_connection_has_no_status() -> None:
    refused = read_request(
        line(callee=RECEIPT, caller=PAYMENT, status=0, ended="rbac_access_denied_matched_policy[none]"), outgoing=False
    )
    assert refused is not None
    assert (refused.denied, refused.caller, refused.method, refused.status) == (True, "payment-svc", None, None)


def test_the_gateway_tells_of_what_no_route_answers() -> None:
    lost = read_request(line(method="GET", path="/", status=404, flags="NR", **{"from": "192.0.2.1:4"}), outgoing=True)
    assert lost is not None
    assert (lost.callee, lost.source, lost.flags, lost.status) == ("", "192.0.2.1:4", "NR", 404)


def test_an_earlier_form_of_the_log_is_known_as_ours() -> None:
    assert is_access_log(access_logs())
    assert is_access_log({"Enabled": True, "JSONFormat": '{"start": "%START_TIME%", "hms": "1"}'})
    for other in ({}, {"JSONFormat": '{"a": 1}'}, {"JSONFormat": "{"}, {"TextFormat": "%START_TIME%"}):
        assert not is_access_log(other)
