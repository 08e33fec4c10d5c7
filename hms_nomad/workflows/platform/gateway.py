"""The gateway as callers from outside see it: its instances, its routes, and whether a service's route is live."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.write import nudge_route, route_verdicts
from hms_nomad.clients.consul_types import Instance, StoredEntry
from hms_nomad.clients.errors import DeadlineExceededError, DeniedError, ServerError, UnavailableError
from hms_nomad.clients.http_call import Answer, Target, ask, public_context
from hms_nomad.compile.canary import owner_of
from hms_nomad.compile.gateway import is_public
from hms_nomad.compile.http_routes import (
    GATEWAY_KIND,
    PROBE_HEADER,
    PROBE_PATH,
    ROUTE_KIND,
    probe_version,
)
from hms_nomad.compile.proxy_job import OWN_PORT
from hms_nomad.platform.model import PlatformError
from hms_nomad.platform.model_proxies import Gateway
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.mesh.registry import allocation_of
from hms_nomad.workflows.observe import at_once
from hms_nomad.workflows.planning.uses import use_warnings
from hms_nomad.workflows.platform.gateway_rows import GatewayRoute, clashes, not_bound, rows_of
from hms_nomad.workflows.session import Session

_PROBE_SECONDS = 3.0
_REACH_SECONDS = 10.0
_PAUSE_SECONDS = 0.25
_NUDGE_SECONDS = 1.0
_CHECK_SECONDS = 10.0
# Envoy adds it to every answer that came from an instance, and to none of its own.
_FROM_AN_INSTANCE = "x-envoy-upstream-service-time"


class GatewayInstance(Struct, frozen=True):
    """One running gateway; ``status`` is passing, warning or critical.

    ``own`` is the HOST:PORT at which it alone answers, where it shares ``address`` with others of its node; else "".
    """

    node: str
    address: str
    status: str
    url: str
    instance: str = ""
    own: str = ""

    @property
    def alone(self) -> str:
        """HOST:PORT at which no other instance answers."""
        return self.own or self.address


class GatewayState(Struct, frozen=True):
    """The gateway of the platform: its instances, and what Consul finds wrong with its listeners."""

    name: str
    installed: bool
    url: str
    instances: tuple[GatewayInstance, ...]
    problems: tuple[str, ...]


class RouteState(Struct, frozen=True):
    """A service's route once it is live. ``probed`` is False when no instance of the gateway is reached from here."""

    service: str
    probed: bool
    urls: tuple[str, ...]
    warnings: tuple[str, ...]


def gateway_status(session: Session) -> GatewayState:
    """The gateway's instances and its problems. Raises the errors of ``hms_nomad.clients.errors``."""
    gateway = session.platform.gateway
    if gateway is None:
        return GatewayState("", False, "", (), ("this platform has no gateway",))
    entry = session.consul.read_entry(GATEWAY_KIND, gateway.name)
    instances = tuple(_instances(session, gateway))
    problems = [] if entry is None else _problems(entry)
    if entry is not None and not any(one.status == "passing" for one in instances):
        problems.append("no instance of it is healthy")
    return GatewayState(gateway.name, entry is not None, _url(gateway, instances), instances, tuple(problems))


def gateway_routes(session: Session) -> tuple[GatewayRoute, ...]:
    """Every way through the platform's gateway, by path and method, those of others included."""
    gateway = session.platform.gateway
    if gateway is None:
        return ()
    base = _url(gateway, tuple(_instances(session, gateway)))
    routes = [route for entry in _routes_of(session, gateway) for route in rows_of(entry, base)]
    return tuple(sorted(routes, key=lambda route: (route.path, route.method, route.service)))


def route_warnings(session: Session, spec: Spec) -> tuple[str, ...]:
    """Why public routes of a spec will not be reached from outside, or calls of it be refused, as far as it can be
    known before a deploy. Empty when nothing is wrong.
    """
    return all_route_warnings(session, (spec,))


def all_route_warnings(session: Session, specs: Iterable[Spec]) -> tuple[str, ...]:
    """The same for many specs, with a few calls for all of them."""
    specs = tuple(specs)
    return (*use_warnings(session, specs), *_unreached(session, [spec for spec in specs if is_public(spec)]))


def _unreached(session: Session, public: Sequence[Spec]) -> tuple[str, ...]:
    gateway = session.platform.gateway
    if not public:
        return ()
    if gateway is None:
        return tuple(f"the public routes of {spec.name} lead nowhere: this platform has no gateway" for spec in public)
    installed, entries = at_once(
        [partial(session.consul.read_entry, GATEWAY_KIND, gateway.name), partial(_routes_of, session, gateway)]
    )
    if installed is None:
        missing = f"wait for the gateway {gateway.name}, which is not installed; see hms-nomad platform install gateway"
        return tuple(f"the public routes of {spec.name} {missing}" for spec in public)
    return tuple(warning for spec in public for warning in clashes(entries, spec))


def follow_routes(session: Session, spec: Spec, deadline: float, report: Report) -> tuple[str, ...]:
    """Wait until the public routes of a spec, written just now, are live; answers what is still wrong, in words.

    ``deadline`` is a value of ``time.monotonic()``. Raises DeadlineExceededError with what is missing, and the other
    errors of ``hms_nomad.clients.errors``.
    """
    warnings = route_warnings(session, spec)
    gateway = session.platform.gateway
    if not is_public(spec) or gateway is None or session.consul.read_entry(GATEWAY_KIND, gateway.name) is None:
        return warnings
    state = await_route(session, spec, deadline)
    report(Event("gateway", f"Open to the outside at {', '.join(state.urls)}", {"urls": list(state.urls)}))
    return (*warnings, *state.warnings)


def check_routes(session: Session, spec: Spec, deadline: float, report: Report) -> tuple[str, ...]:
    """As ``follow_routes`` for routes that stood already: some seconds are enough, and what is missing is a warning."""
    try:
        return follow_routes(session, spec, min(deadline, time.monotonic() + _CHECK_SECONDS), report)
    except DeadlineExceededError as error:
        return (str(error),)


def open_routes(session: Session, name: str, report: Report) -> tuple[str, ...]:
    """As ``check_routes`` for the public routes that Consul has of a service, whose spec is not at hand."""
    gateway = session.platform.gateway
    stored = _routes_to(session, gateway, name) if gateway is not None else ()
    if gateway is None or not stored or session.consul.read_entry(GATEWAY_KIND, gateway.name) is None:
        return ()
    host_name = next(iter(stored[0].body.get("Hostnames") or ()), "")
    try:
        state = _await_routes(session, gateway, name, stored, host_name, time.monotonic() + _CHECK_SECONDS)
    except (DeadlineExceededError, PlatformError, ServerError) as error:
        return (str(error),)
    report(Event("gateway", f"Open to the outside at {', '.join(state.urls)}", {"urls": list(state.urls)}))
    return state.warnings


def await_route(session: Session, spec: Spec, deadline: float) -> RouteState:
    """Wait until the gateway lets requests through to a service: Consul calls each of its routes bound, and a probe of
    each, which goes through every healthy instance of the gateway, is answered by an instance of the service.

    The probe is refused by the service's sidecar, so the service itself never sees it. ``deadline`` is a value of
    ``time.monotonic()``. Raises DeadlineExceededError with what is missing.
    """
    gateway = session.platform.gateway
    if gateway is None or not is_public(spec):
        raise ValueError(f"{spec.name} has no route through a gateway")
    stored = _routes_to(session, gateway, spec.name)
    return _await_routes(session, gateway, spec.name, stored, next(iter(spec.gateway.hosts), ""), deadline)


def _routes_to(session: Session, gateway: Gateway, name: str) -> tuple[StoredEntry, ...]:
    """Our routes to a service."""
    return tuple(one for one in _routes_of(session, gateway) if owner_of(one.name) == name and probe_version(one.body))


def _await_routes(
    session: Session, gateway: Gateway, name: str, stored: Iterable[StoredEntry], host_name: str, deadline: float
) -> RouteState:
    routes = [_bound_route(session, entry.name, deadline) for entry in stored]
    if not routes:
        raise DeadlineExceededError(f"the gateway does not lead to {name}: it has no route to it")
    versions = [probe_version(route.body) for route in routes]
    instances = [one for one in _instances(session, gateway) if one.status == "passing"]
    context = _trust(gateway)
    failures: dict[str, str] = {}
    for one in instances:
        probes = (_probe(session, one, name, version, deadline, context, host_name) for version in versions)
        failures[one.alone] = next((failure for failure in probes if failure), "")
    out_of_reach = [f"{gateway.scheme}://{where} ({failure})" for where, failure in failures.items() if failure]
    rows = [row for route in routes for row in rows_of(route, _url(gateway, tuple(instances)))]
    urls = tuple(dict.fromkeys(row.url or row.path for row in sorted(rows, key=lambda row: row.path)))
    warnings: tuple[str, ...] = ()
    if not instances:
        warnings = (f"the route of {name} is bound, but no instance of the gateway {gateway.name} is healthy",)
    elif out_of_reach:
        # Whether they see the service cannot be asked from here, and a nudge does no harm.
        nudge_route(name, session.consul)
        warnings = (f"the route of {name} is bound, but not reached from here at {', '.join(out_of_reach)}",)
    return RouteState(name, len(out_of_reach) < len(instances), urls, warnings)


def _bound_route(session: Session, name: str, deadline: float) -> StoredEntry:
    reason: str | None = None
    for entry in route_verdicts(name, session.consul, deadline):
        reason = not_bound(entry.conditions) if entry else "it does not exist"
        if entry and reason is None:
            return entry
    raise DeadlineExceededError(f"the gateway does not take the route {name}: {reason}")


def _trust(gateway: Gateway) -> ssl.SSLContext | None:
    """How probes check the gateway's certificate; None where it speaks plain HTTP."""
    if gateway.tls is None:
        return None
    try:
        return public_context(gateway.tls.ca_file)
    except OSError as error:
        why = f"gateway.tls.ca_file {gateway.tls.ca_file} cannot be read: {error.strerror or error}"
        raise PlatformError(why) from None


def _probe(
    session: Session,
    instance: GatewayInstance,
    service: str,
    version: str,
    deadline: float,
    context: ssl.SSLContext | None,
    host_name: str,
) -> str:
    """Wait until the probe reaches the service through one instance of the gateway; why that is out of reach, or "".

    Raises DeadlineExceededError when the instance answers, but not with the service.
    """
    host, _, port = instance.alone.rpartition(":")
    where = f"{instance.url.partition('://')[0]}://{instance.alone}"
    tls = session.platform.gateway.tls if session.platform.gateway else None
    name = tls.names[0] if tls else ""
    target = Target(f"gateway {where}", host.strip("[]"), int(port), server_name=name)
    named = {"Host": host_name} if host_name else {}
    missing = "no answer"
    out_of_reach = min(deadline, time.monotonic() + _REACH_SECONDS)
    next_nudge = time.monotonic() + _NUDGE_SECONDS
    while True:
        try:
            answer = ask(target, "GET", PROBE_PATH, {PROBE_HEADER: version, **named}, None, _PROBE_SECONDS, context)
        except (UnavailableError, DeniedError) as error:
            # The listener comes with the first route, so a refusal can be a moment too early.
            if time.monotonic() > out_of_reach:
                return error.detail
        except ServerError as error:
            missing = error.detail
        else:
            if answer.header(_FROM_AN_INSTANCE):
                return ""
            missing = _said(answer)
            if _sees_no_service(answer) and time.monotonic() > next_nudge:
                nudge_route(service, session.consul)
                next_nudge = time.monotonic() + _NUDGE_SECONDS
        if time.monotonic() > deadline:
            raise DeadlineExceededError(f"the gateway at {where} does not lead to {service}: {missing}")
        # Nothing tells when Envoy has taken a configuration over.
        time.sleep(_PAUSE_SECONDS)


def _sees_no_service(answer: Answer) -> bool:
    """Envoy has the route, but does not know the service that it names: it says so by 503 without a word."""
    return answer.status == 503 and not answer.body


def _said(answer: Answer) -> str:
    text = " ".join(answer.body.decode("utf-8", "replace").split())[:200]
    return f"it answers {answer.status} {text}".rstrip()


def _instances(session: Session, gateway: Gateway) -> Iterator[GatewayInstance]:
    for one in session.consul.instances(gateway.name).value:
        url, own = f"{gateway.scheme}://{_address(one)}", one.meta.get(OWN_PORT, "")
        yield GatewayInstance(one.node, _address(one), one.status, url, allocation_of(one.id)[:8], own)


def _address(instance: Instance) -> str:
    host = f"[{instance.address}]" if ":" in instance.address else instance.address
    return f"{host}:{instance.port}"


def _url(gateway: Gateway, instances: tuple[GatewayInstance, ...]) -> str:
    """The address to tell people: the configured one, else that of the first instance."""
    return gateway.url or next((one.url for one in instances), "")


def _problems(entry: StoredEntry) -> list[str]:
    return [
        f"{one.about or entry.name}: {one.message}"
        for one in entry.conditions
        if one.true == (one.type == "Conflicted")
    ]


def _routes_of(session: Session, gateway: Gateway) -> tuple[StoredEntry, ...]:
    return tuple(
        entry
        for entry in session.consul.list_entries(ROUTE_KIND)
        if entry.name != gateway.name
        and any(parent.get("Name") == gateway.name for parent in entry.body.get("Parents") or ())
    )
