"""``mesh``: who may call whom, by which rule, and how the sidecars that enforce it are."""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from hms_nomad.clients.certificates import Certificate, read_der
from hms_nomad.clients.consul_types import Instance
from hms_nomad.clients.envoy import EnvoySample, EnvoyStats
from hms_nomad.clients.errors import NotFoundError, ServerError
from hms_nomad.clients.http_call import open_socket
from hms_nomad.compile.canary import is_canary_name
from hms_nomad.compile.gateway import PLATFORM_KEY
from hms_nomad.compile.names import METRICS_META
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.rights import ANYBODY, Decision, Request, allowances, decide, declarations
from hms_nomad.rollout.judge import quantile
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.mesh.caller import Caller, target_of
from hms_nomad.workflows.mesh.registry import allocation_of
from hms_nomad.workflows.session import Session

_CLOSE_MATCHES = 1
_HANDSHAKE_SECONDS = 3.0
_IDENTITY = "spiffe://"


class Edge(Struct, frozen=True):
    """A right to call: ``may`` lists what, in words; ``declared_by`` says which fields of specs gave it."""

    source: str
    destination: str
    may: tuple[str, ...]
    declared_by: str


class Graph(Struct, frozen=True):
    """Who may call whom; ``default_allow`` says that everything is allowed of which no rule speaks."""

    services: tuple[str, ...]
    edges: tuple[Edge, ...]
    default_allow: bool


class SidecarState(Struct, frozen=True):
    """One instance as the mesh has it.

    ``sync`` is "in sync" (Consul guides the sidecar), "stale" (it runs on what it heard last) or "unknown".
    Certificate times are in UTC, None where they could not be read; the ``serial`` is then "", as is the ``signer``,
    which names the key that signed it. ``success`` is in percent since the sidecar started, latencies in milliseconds.
    ``problems`` say what could not be read, and what is wrong.
    """

    service: str
    allocation: str
    node: str
    address: str
    release: str
    status: str
    identity: str
    issued: datetime | None
    expires: datetime | None
    sync: str
    requests: int | None
    success: float | None
    p50_ms: float | None
    p99_ms: float | None
    problems: tuple[str, ...]
    serial: str = ""
    signer: str = ""


def can_i(session: Session, source: str, destination: str, request: Request | None = None) -> Decision:
    """Whether ``source`` may call ``destination``, and the rule that decides.

    Raises NotFoundError when Consul knows no such destination, and the other errors of ``hms_nomad.clients.errors``.
    """
    entries = _intentions(session)
    known = {*session.consul.services().value, *(name for name in entries if name != ANYBODY)}
    entries_of_services = session.consul.list_entries("service-defaults")
    known |= {entry.name for entry in entries_of_services if not is_canary_name(entry.name)}
    if destination not in known:
        near = difflib.get_close_matches(destination, sorted(known), n=_CLOSE_MATCHES)
        hint = f"; is {near[0]} meant?" if near else ""
        detail = f"the mesh has no service {destination!r}{hint}"
        raise NotFoundError("consul", f"look at the rights to {destination}", session.consul.address, detail, 404)
    return decide(source, destination, entries, session.consul.agent().allows_by_default, request)


def graph(session: Session) -> Graph:
    """Every right to call that intentions give. Raises the errors of ``hms_nomad.clients.errors``."""
    entries = _intentions(session)
    edges = tuple(sorted(_edges(entries), key=lambda edge: (edge.source, edge.destination)))
    named = set(_services(session))
    named |= {name for edge in edges for name in (edge.source, edge.destination)}
    return Graph(tuple(sorted(named - {ANYBODY})), edges, session.consul.agent().allows_by_default)


def mesh_status(session: Session, name: str | None = None) -> tuple[SidecarState, ...]:
    """The sidecars of one service, or of all of ours; those that do not answer say so in their ``problems``.

    Raises NotFoundError for a service without a sidecar, and the errors of ``hms_nomad.clients.errors`` of Consul.
    """
    names = [name] if name else _services(session)
    found = [
        (service, instance) for service in sorted(names) for instance in _sidecars(session, service, wanted=bool(name))
    ]
    caller, problem = _caller(session)
    context = caller.context_for(()) if caller else None
    envoy = EnvoyStats()

    def look(one: tuple[str, Instance]) -> SidecarState:
        return _state(*one, caller, context, envoy, problem)

    return tuple(side_by_side(look, found))


def _services(session: Session) -> list[str]:
    """The services that have settings in the mesh; those of the platform's own jobs are none."""
    entries = session.consul.list_entries("service-defaults")
    named = [entry for entry in entries if not is_canary_name(entry.name)]
    return [entry.name for entry in named if PLATFORM_KEY not in (entry.body.get("Meta") or {})]


def _sidecars(session: Session, service: str, *, wanted: bool) -> tuple[Instance, ...]:
    found = session.consul.instances(service, connect=True).value
    if wanted and not found:
        detail = f"{service} has no instance in the mesh; see hms-nomad registry list"
        raise NotFoundError("consul", f"look at the sidecars of {service}", session.consul.address, detail, 404)
    return tuple(sorted(found, key=lambda instance: (instance.node, instance.port)))


def _caller(session: Session) -> tuple[Caller | None, str]:
    """An identity for the handshakes; without the right to one, certificates stay unread and the rest is shown."""
    try:
        return Caller.of(session), ""
    except ServerError as error:
        return None, f"certificate not read: {error.detail}"


def _state(
    service: str,
    sidecar: Instance,
    caller: Caller | None,
    context: ssl.SSLContext | None,
    envoy: EnvoyStats,
    problem: str,
) -> SidecarState:
    problems = [problem] if problem else []
    certificate: Certificate | None = None
    if caller is not None and context is not None:
        try:
            certificate = _certificate(sidecar, caller, service, context)
        except ServerError as error:
            problems.append(f"certificate not read: {error.detail}")
    sample = None
    try:
        sample = _sample(sidecar, envoy)
    except ServerError as error:
        problems.append(f"counts not read: {error.detail}")
    names = certificate.names if certificate else ()
    return SidecarState(
        service=service,
        allocation=allocation_of(sidecar.id),
        node=sidecar.node,
        address=f"{sidecar.address}:{sidecar.port}",
        release=sidecar.meta.get("release", ""),
        status=sidecar.status,
        identity=next((name for name in names if name.startswith(_IDENTITY)), ""),
        issued=certificate.issued if certificate else None,
        expires=certificate.expires if certificate else None,
        sync=_sync(sample),
        requests=sample.total if sample else None,
        success=_success(sample),
        p50_ms=quantile(sample.latency, 0.5) if sample else None,
        p99_ms=quantile(sample.latency, 0.99) if sample else None,
        problems=tuple(problems),
        serial=certificate.serial if certificate else "",
        signer=certificate.signer_key_id if certificate else "",
    )


def _certificate(sidecar: Instance, caller: Caller, service: str, context: ssl.SSLContext) -> Certificate | None:
    """The certificate that a sidecar really shows, after its identity was checked."""
    with open_socket(target_of(service, sidecar, caller), _HANDSHAKE_SECONDS, context) as connection:
        shown = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
    return read_der(shown) if shown else None


def _sample(sidecar: Instance, envoy: EnvoyStats) -> EnvoySample | None:
    port = sidecar.meta.get(METRICS_META, "")
    return envoy.scrape(sidecar.address, int(port)) if port.isdigit() else None


def _sync(sample: EnvoySample | None) -> str:
    if sample is None or sample.connected is None:
        return "unknown"
    return "in sync" if sample.connected else "stale"


def _success(sample: EnvoySample | None) -> float | None:
    if sample is None or not sample.total:
        return None
    return 100.0 * (1 - sample.requests.get("5xx", 0) / sample.total)


def _intentions(session: Session) -> dict[str, Mapping[str, Any]]:
    return {entry.name: entry.body for entry in session.consul.list_entries(INTENTIONS)}


def _edges(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[Edge]:
    for destination, body in entries.items():
        for source in body.get("Sources") or ():
            may = allowances(source)
            if may:
                yield Edge(str(source["Name"]), destination, may, declarations(source))
