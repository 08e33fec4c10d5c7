"""Platform -> the access log that its proxies shall write; a line of it -> what it says of a call or a request.

One setting of Consul (``proxy-defaults``) holds for all proxies: sidecars, gateways, egress. Each request, and each
connection of a TCP service, is one line of JSON on the proxy's stdout, which Nomad keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.compile.http_routes import PROBE_PATH

DEFAULTS_KIND = "proxy-defaults"
DEFAULTS_NAME = "global"
"""The one config entry of Consul that is for all proxies."""

ACCESS = "access"
DENIED = "denied"
FAILED = "call.failed"
GATEWAY = "gateway.access"
"""What a line can be: a call that an instance answered, one that the mesh refused, one that reached no instance (told
by the caller's side), and one from outside (told by the gateway)."""

LINE = {
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "caller": "%DOWNSTREAM_PEER_URI_SAN%",
    "callee": "%DOWNSTREAM_LOCAL_URI_SAN%",
    "serial": "%DOWNSTREAM_PEER_SERIAL%",
    "from": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace": "%REQ(TRACEPARENT)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "ended": "%CONNECTION_TERMINATION_DETAILS%",
    "ms": "%DURATION%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "to": "%UPSTREAM_HOST%",
    "answered_by": "%UPSTREAM_PEER_URI_SAN%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "why": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "hms": "1",
}
"""The fields of a line, and Envoy's operator for each. The gateway's own listener writes the same."""

_REFUSED = "rbac_access_denied"
_CHAIN = ".internal."
_TRACE_PARTS = 4


class Request(Struct, frozen=True):
    """A request, or a connection of TCP, as one proxy saw it.

    ``time`` is when it began, as RFC 3339 writes it, in UTC. ``caller`` and ``callee`` are services; their ids are what
    their certificates proved ("": none was shown). ``source`` is the address that it came from. ``ms`` is how long it
    took in milliseconds, ``received`` and ``sent`` are bytes of bodies. A connection has neither method, path nor
    status. ``flags`` and ``details`` are Envoy's words for how it ended, ``denied`` that the mesh refused it. What is
    not known is None.
    """

    time: str
    caller: str
    caller_id: str
    callee: str
    callee_id: str
    source: str
    method: str | None
    path: str | None
    status: int | None
    ms: int | None
    received: int | None
    sent: int | None
    request_id: str | None
    trace_id: str | None
    tries: int | None
    flags: str | None
    details: str | None
    denied: bool


class Call(Struct, frozen=True):
    """One line: ``kind`` is one of the words above, ``service`` who was called, ``facts`` the rest for the event.

    ``start`` is a time as RFC 3339 writes it, in UTC. ``caller`` is the SPIFFE id that the caller's certificate proved,
    "" for one from outside the mesh.
    """

    kind: str
    service: str
    caller: str
    start: str
    facts: Mapping[str, Any]


def access_logs() -> dict[str, Any]:
    """The ``AccessLogs`` block of Consul's proxy-defaults."""
    return {"Enabled": True, "Type": "stdout", "JSONFormat": json.dumps(LINE, separators=(",", ":"))}


def is_access_log(logs: Mapping[str, Any]) -> bool:
    """Whether an ``AccessLogs`` block was made by us, be it an earlier version."""
    try:
        fields = json.loads(logs.get("JSONFormat") or "{}")
    except ValueError:
        return False
    return isinstance(fields, dict) and str(fields.get("hms")) == "1"


def read_call(line: str, *, gateway: bool) -> Call | None:
    """What a line of a proxy's output says; None for what is no line of ours, or no call between services.

    A call that succeeded stands in two logs, of which the callee's counts: it knows who called. Health checks and
    readings of metrics, which come without a certificate, are no calls. ``gateway`` says whose output it is.
    """
    fields = _fields(line)
    if fields is None:
        return None
    called = _service_of_chain(str(fields["cluster"] or ""))
    kind = _kind(fields, called, gateway=gateway)
    if kind is None:
        return None
    service = called if kind in (FAILED, GATEWAY) else _service_of_identity(str(fields["callee"] or ""))
    caller = str(fields["caller"] or "")
    path = _path(fields)
    kept = {key: value for key, value in fields.items() if key not in ("start", "hms", "cluster", "path")}
    facts = {"path": path, **{key: value for key, value in kept.items() if value not in (None, "-", "")}}
    return Call(
        kind, service, caller, str(fields["start"]), {key: facts[key] for key in facts if facts[key] is not None}
    )


def is_probe(call: Call, gateway: str) -> bool:
    """Whether a deploy asked through the ``gateway``, by its service, if a route is live: being refused is the answer
    that it wants, and nothing that anybody has to look into.
    """
    asked = call.facts.get("path") == PROBE_PATH and _service_of_identity(call.caller) == gateway
    return asked and call.kind == DENIED


def read_request(line: str, *, outgoing: bool) -> Request | None:
    """The request, or connection, of a line; None for what is no line of ours, or goes in the other direction.

    ``outgoing`` asks for what the proxy's own service calls, or what a gateway let in, else for what came in from the
    mesh. Health checks and readings of metrics are neither.
    """
    fields = _fields(line)
    if fields is None:
        return None
    callee, called = str(fields["callee"] or ""), _service_of_chain(str(fields["cluster"] or ""))
    lost = _text(fields["cluster"]) is None and _text(fields["flags"]) is not None
    if outgoing == bool(callee) or not (callee or called or lost):
        return None
    answered = callee or str(fields["answered_by"] or "")
    trace = str(fields["trace"] or "").split("-")
    return Request(
        time=str(fields["start"]),
        caller=_service_of_identity(str(fields["caller"] or "")),
        caller_id=str(fields["caller"] or ""),
        callee=_service_of_identity(answered) or called,
        callee_id=answered,
        source=str(fields["from"] or ""),
        method=_text(fields["method"]),
        path=_path(fields),
        status=_number(fields["status"]) or None,
        ms=_number(fields["ms"]),
        received=_number(fields["received"]),
        sent=_number(fields["sent"]),
        request_id=_text(fields["request_id"]),
        trace_id=trace[1] if len(trace) == _TRACE_PARTS else None,
        tries=_number(fields["tries"]),
        flags=_text(fields["flags"]),
        details=_text(fields["details"]) or _text(fields["ended"]),
        denied=_REFUSED in f"{fields['details']} {fields['ended']}",
    )


def _fields(line: str) -> dict[str, Any] | None:
    """The fields of a line of ours; a dash of Envoy stands for nothing."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or str(entry.get("hms")) != "1" or not isinstance(entry.get("start"), str):
        return None
    return {key: entry.get(key) for key in LINE}


def _path(fields: Mapping[str, Any]) -> str | None:
    """The path without what stands behind a question mark: that may be about people."""
    return fields["path"].partition("?")[0] if isinstance(fields["path"], str) else None


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "-", "") else None


def _number(value: Any) -> int | None:
    return int(value) if str(value).isdigit() else None


def _kind(fields: Mapping[str, Any], called: str, *, gateway: bool) -> str | None:
    if fields["callee"]:
        reasons = f"{fields['details']} {fields['ended']}"
        return DENIED if _REFUSED in reasons else ACCESS
    if gateway:
        return GATEWAY if called or fields["flags"] not in (None, "-") else None
    return FAILED if called and fields["flags"] not in (None, "-", "") else None


def _service_of_identity(identity: str) -> str:
    return identity.rpartition("/svc/")[2]


def _service_of_chain(cluster: str) -> str:
    """The service in a cluster's name, "[SUBSET.]NAME.NAMESPACE.DATACENTER.internal.TRUST-DOMAIN"; "" for others."""
    name, found, _ = cluster.partition(_CHAIN)
    parts = name.split(".")
    return parts[-3] if found and len(parts) >= 3 else ""
