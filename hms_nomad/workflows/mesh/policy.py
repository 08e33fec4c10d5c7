"""``mesh explain``: how the mesh treats requests to a service, what says so, and whether Consul has it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from msgspec import Struct

from hms_nomad.clients.consul_types import CallingSidecar
from hms_nomad.clients.envoy import EnvoySample, EnvoyStats
from hms_nomad.clients.errors import NotFoundError, ServerError
from hms_nomad.compile import compile_spec
from hms_nomad.compile.connect import PASSIVE_HEALTH_CHECK
from hms_nomad.compile.desired import OWNER
from hms_nomad.compile.names import METRICS_META
from hms_nomad.compile.outbound import ENVOYS_OWN, at_once
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.mesh_policy import CONNECTIONS, EJECTION, Setting, callers_policy, chain_parts, policy
from hms_nomad.plan.rights import ANYBODY, allowances
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.sections.section import as_data
from hms_nomad.spec.model import Spec
from hms_nomad.spec.origins import Origin, OriginKind
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.mesh.registry import allocation_of
from hms_nomad.workflows.session import Session

SAME = "same"
MISSING = "missing"
UNASKED = "not in the spec"
"""What ``Explained.stored`` says where Consul has the same, where it has nothing, and where it has something more."""

_CONSULS = "Consul alone"
_ENVOYS = "Envoy's own"


class Explained(Struct, frozen=True):
    """A setting: its ``value`` in words, what gave it ("receipt.hms.yml:7:3 mesh.timeout", "default"), and what Consul
    has: ``SAME``, ``MISSING``, ``UNASKED`` or its own value; None where there is nothing to compare.
    """

    setting: str
    value: str
    given_by: tuple[str, ...]
    stored: str | None


class CallerState(Struct, frozen=True):
    """The sidecar of a caller and what it has of the service.

    ``sync`` is "in sync", "stale" or "unknown"; ``refused`` counts configurations that Envoy did not take over. What
    the sidecar was not told is "". ``releases`` are those that it knows instances of. ``problem`` says what could not
    be read, or that the caller does not use the service.
    """

    service: str
    allocation: str
    node: str
    sync: str
    refused: int
    ejection: str
    connections: str
    releases: tuple[str, ...]
    problem: str


class MeshPolicy(Struct, frozen=True):
    """Everything that holds for requests to one service, and its callers."""

    service: str
    settings: tuple[Explained, ...]
    callers: tuple[CallerState, ...]

    @property
    def same(self) -> bool:
        """Whether Consul has what the spec says, as far as both were compared."""
        return all(one.stored in (None, SAME) for one in self.settings)


def explain_service(session: Session, name: str, caller: str | None = None) -> MeshPolicy:
    """What Consul has for requests to ``name``, and the sidecars of its callers, or of one ``caller``.

    Raises NotFoundError for a service that the mesh does not have, or a caller without a sidecar, and the other errors
    of ``hms_nomad.clients.errors``.
    """
    if session.consul.read_entry("service-defaults", name) is None:
        known = [entry.name for entry in session.consul.list_entries("service-defaults")]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; is {near[0]} meant?" if near else ""
        raise _unknown(session, name, f"the mesh has no service {name!r}{hint}")
    callers = _callers(session, name, caller)
    found = [Explained(one.name, one.value, (where,), None) for one, where in _stored(session, name)]
    return MeshPolicy(name, tuple(found), callers)


def explain_spec(session: Session, spec: Spec, origins: Sequence[Origin], caller: str | None = None) -> MeshPolicy:
    """What a spec asks for, what gave each setting, and whether Consul and the callers' sidecars have the same.

    ``origins`` are those of the spec's values. Raises PlatformError for a spec that nobody can call, NotFoundError for
    a caller without a sidecar, and the errors of ``hms_nomad.clients.errors``.
    """
    if spec.kind == "job":
        raise PlatformError(f"{spec.name} is a job that runs to its end: nobody calls it")
    desired = compile_spec(spec, session.platform, session.pins)
    bodies = {entry.kind: entry.body for entry in desired.entries if entry.name == spec.name}
    routes = (bodies.get("service-router") or {}).get("Routes") or ()
    written = [as_data(route) for route in spec.routes]
    wanted = policy(bodies.get("service-defaults"), bodies.get("service-resolver"), routes, written)
    stored = {one.name: one.value for one, _ in _stored(session, spec.name)}
    callers = _callers(session, spec.name, caller)
    by_path = {origin.path: origin for origin in origins}
    found = [
        Explained(one.name, one.value, _given_by(one, by_path), _against(one.value, stored.get(one.name)))
        for one in wanted
    ]
    more = stored.keys() - {one.name for one in wanted}
    found += [Explained(name, stored[name], (_CONSULS,), UNASKED) for name in stored if name in more and ": " in name]
    found += _of_callers(callers, session.platform)
    if any(route.public for route in spec.routes):
        found += _at_the_gateway(session.platform)
    return MeshPolicy(spec.name, tuple(found), callers)


def _stored(session: Session, name: str) -> Iterator[tuple[Setting, str]]:
    """What Consul has, each with the object that says so. The chain is what it made of all entries."""
    entry = session.consul.read_entry("service-defaults", name)
    if entry is None:
        return
    resolver, routes = chain_parts(session.consul.discovery_chain(name))
    for one in policy(entry.body, resolver, routes):
        yield one, f"{_kind(one.name)} {name}"


def _kind(setting: str) -> str:
    if setting in ("connect timeout", "load balancing"):
        return "service-resolver"
    of_route = setting.endswith((": timeout", ": retries"))
    return "service-router" if of_route else "service-defaults"


def _given_by(setting: Setting, origins: Mapping[str, Origin]) -> tuple[str, ...]:
    """The places that gave a setting; "default" where the spec says nothing of it."""
    if not setting.fields:
        return (_ENVOYS,)
    names = [
        path
        for field in setting.fields
        for path in origins
        if path == field or path.startswith(f"{field}[") or ("[]" in field and _fits(path, field))
    ]
    places: dict[str, str] = {}
    for origin in (origins[path] for path in names):
        if origin.kind is not OriginKind.DEFAULT and origin.value is not None:
            field = origin.path if origin.path.startswith("routes[") else origin.path.partition("[")[0]
            places.setdefault(field, _place(origin, field))
    return tuple(places.values()) or (OriginKind.DEFAULT.value,)


def _fits(path: str, field: str) -> bool:
    before, _, after = field.partition("[]")
    return path.startswith(f"{before}[") and path.endswith(f"]{after}")


def _place(origin: Origin, field: str) -> str:
    how = f"({origin.kind} {origin.detail})" if origin.kind is not OriginKind.FILE else ""
    return " ".join(part for part in (str(origin.position or ""), field, how) if part)


def _against(wanted: str, stored: str | None) -> str:
    if stored is None:
        return MISSING
    return SAME if stored == wanted else stored


def _of_callers(callers: Sequence[CallerState], platform: Platform) -> Iterator[Explained]:
    """What every caller's sidecar is told by the caller's own job, and by its script."""
    retries = platform.sidecar.retries_at_once
    ejection, connections = callers_policy({"passive_health_check": PASSIVE_HEALTH_CHECK}, retries)
    told = [one for one in callers if one.ejection]
    for setting, has in (
        (ejection, {one.ejection for one in told}),
        (connections, {one.connections for one in told}),
    ):
        others = sorted(has - {setting.value})
        stored = None if not has else (SAME if not others else "; ".join(others))
        source = OWNER if setting.name == EJECTION else f"{_ENVOYS}, retries by {OWNER}"
        yield Explained(setting.name, setting.value, (f"{source}, at each caller",), stored)


def _at_the_gateway(platform: Platform) -> Iterator[Explained]:
    if platform.gateway is not None:
        limit = platform.gateway.limit
        where = f"context {platform.name} gateway.limit" if limit else OriginKind.DEFAULT.value
        yield Explained("limit of an instance of the gateway", limit or "none", (where,), None)


def _callers(session: Session, name: str, caller: str | None) -> tuple[CallerState, ...]:
    names = [caller] if caller else _let_in(session, name)
    sidecars = [(one, sidecar) for one in names for sidecar in session.consul.calling_sidecars(one)]
    retries = dict(zip(names, side_by_side(partial(_retries_at_once, session), names), strict=True))
    if caller and not sidecars:
        raise _unknown(session, caller, f"{caller} has no instance in the mesh; see hms-nomad registry list")
    envoy = EnvoyStats()
    return tuple(side_by_side(lambda one: _state(*one, name, envoy, retries[one[0]]), sidecars))


def _let_in(session: Session, name: str) -> list[str]:
    entry = session.consul.read_entry(INTENTIONS, name)
    sources = (entry.body.get("Sources") or ()) if entry else ()
    return sorted({str(one["Name"]) for one in sources if allowances(one)} - {ANYBODY})


def _retries_at_once(session: Session, caller: str) -> int:
    entry = session.consul.read_entry("service-defaults", caller)
    scripts = (entry.body.get("EnvoyExtensions") or ()) if entry else ()
    return max([at_once(one["Arguments"].get("Script") or "") for one in scripts], default=ENVOYS_OWN)


def _state(service: str, sidecar: CallingSidecar, callee: str, envoy: EnvoyStats, retries: int) -> CallerState:
    config = sidecar.upstreams.get(callee)
    told = {one.name: one.value for one in callers_policy(config, retries)} if config is not None else {}
    problem = "" if told else f"{service} does not use it; declare uses: [{callee}] in its spec"
    sample: EnvoySample | None = None
    port = sidecar.instance.meta.get(METRICS_META, "")
    if port.isdigit():
        try:
            sample = envoy.scrape(sidecar.instance.address, int(port))
        except ServerError as error:
            problem = problem or f"its sidecar does not answer: {error.detail}"
    connected = sample.connected if sample else None
    return CallerState(
        service=service,
        allocation=allocation_of(sidecar.instance.id),
        node=sidecar.instance.node,
        sync="unknown" if connected is None else ("in sync" if connected else "stale"),
        refused=sum(sample.config_refusals.values()) if sample else 0,
        ejection=told.get(EJECTION, ""),
        connections=told.get(CONNECTIONS, ""),
        releases=tuple(sorted(sample.subsets.get(callee, ()))) if sample else (),
        problem=problem,
    )


def _unknown(session: Session, name: str, detail: str) -> NotFoundError:
    return NotFoundError("consul", f"explain {name}", session.consul.address, detail, 404)
