"""What the mesh is told of a service -> how it treats requests to it, setting by setting, in words.

The same reading is made of what a spec stands for and of what Consul has, so that both can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern
from hms_nomad.plan.normal import normal_entry
from hms_nomad.plan.rights import spoken

INBOUND = "connections of an instance"
EJECTION = "outlier ejection"
CONNECTIONS = "limits of a caller"
"""Settings of each caller, and not of the service."""

_ROUTER, _RESOLVER = "router", "resolver"
_PATHS = ("PathExact", "PathPrefix", "PathRegex")
_NS = 1_000_000
_ENVOYS_OWN = 1024
_LIMITS = {
    "max_connections": "connections",
    "max_pending_requests": "waiting requests",
    "max_concurrent_requests": "requests at once",
}
_ROW_WITH_LIMIT = lazy_pattern(r'\{path = "(?P<path>[^"]*)"[^}]*?(?:\{[^}]*\}[^}]*?)?said = "(?P<said>[^"]*)"')


class Setting(Struct, frozen=True):
    """One setting of the mesh; ``name`` says what it is about, ``value`` what holds, both in words.

    ``fields`` are the fields of the spec that decide about it, the most exact one first; none where no spec does.
    """

    name: str
    value: str
    fields: tuple[str, ...] = ()


def policy(
    defaults: Mapping[str, Any] | None,
    resolver: Mapping[str, Any] | None,
    routes: Sequence[Mapping[str, Any]],
    spec_routes: Sequence[Mapping[str, Any]] = (),
) -> tuple[Setting, ...]:
    """The settings of a service, in the words of its service-defaults, service-resolver and the router's routes.

    ``spec_routes`` are the routes of a spec as they are written ("path", "methods"), for the fields that decide. Routes
    for some requests only, by a header or the query, belong to rollouts and are left out.
    """
    entry = normal_entry(defaults or {})
    found = [Setting("protocol", str(entry.get("Protocol") or "tcp"), ("protocol",))]
    if resolver is not None:
        way = normal_entry(resolver)
        if connect := way.get("ConnectTimeout"):
            found.append(Setting("connect timeout", _time(connect), ("mesh.connect_timeout",)))
        balance = (way.get("LoadBalancer") or {}).get("Policy")
        found.append(Setting("load balancing", str(balance or "round_robin"), ("mesh.balance",)))
    inbound = entry.get("MaxInboundConnections")
    found.append(Setting(INBOUND, str(inbound or "no limit"), ("mesh.max_connections",)))
    if limit := entry.get("LocalRequestTimeoutMs"):
        found.append(Setting("longest try", _time(limit * _NS), ("mesh.timeout", "routes[].timeout")))
    for route in routes:
        found += _of_route(route, spec_routes)
    found += [
        Setting(f"{path}: limit of an instance", said, _route_fields({"PathPrefix": path}, spec_routes, "limit"))
        for path, said in _limited(entry)
    ]
    return tuple(found)


def chain_parts(chain: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]:
    """The resolver and the routes in the compiled discovery chain of a service, as ``policy`` reads them.

    Consul adds a route for everything else at the end, which is left out.
    """
    nodes: Mapping[str, Mapping[str, Any]] = chain.get("Nodes") or {}
    by_type = {kind: [node for node in nodes.values() if node.get("Type") == kind] for kind in (_ROUTER, _RESOLVER)}
    routes = [one["Definition"] for node in by_type[_ROUTER] for one in (node.get("Routes") or ())[:-1]]
    found = next(iter(by_type[_RESOLVER]), None)
    resolver = None
    if found is not None:
        resolver = {**(found.get("Resolver") or {}), "LoadBalancer": found.get("LoadBalancer") or {}}
    return resolver, routes


def callers_policy(config: Mapping[str, Any], retries_at_once: int) -> tuple[Setting, ...]:
    """How a caller's sidecar treats the instances of a service, from its settings for that upstream and from how many
    requests its script lets it send again at once.
    """
    passive = {_key(key): value for key, value in (config.get("passive_health_check") or {}).items()}
    limits = {_key(key): value for key, value in (config.get("limits") or {}).items()}
    ejects = "none"
    if failures := passive.get("maxfailures"):
        ejects = f"{failures} failures in a row"
        if base := passive.get("baseejectiontime"):
            ejects += f", for {_time(_nanoseconds(base))}"
        if share := passive.get("maxejectionpercent"):
            ejects += f", at most {share}% of the instances"
    numbers = [f"{limits.get(_key(key)) or _ENVOYS_OWN} {what}" for key, what in _LIMITS.items()]
    return Setting(EJECTION, ejects), Setting(CONNECTIONS, ", ".join([*numbers, f"{retries_at_once} retries at once"]))


def _of_route(route: Mapping[str, Any], spec_routes: Sequence[Mapping[str, Any]]) -> Iterator[Setting]:
    match = (route.get("Match") or {}).get("HTTP") or {}
    if match.get("Header") or match.get("QueryParam"):
        return
    what = spoken({"HTTP": match})
    destination = normal_entry(route.get("Destination") or {})
    tries = int(destination.get("NumRetries") or 0)
    total = destination.get("RequestTimeout")
    fields = _route_fields(match, spec_routes, "timeout")
    yield Setting(f"{what}: timeout", _time(total) if total else "none", (*fields, "mesh.timeout", "mesh.retries"))
    words = f"{tries} on {', '.join(destination.get('RetryOn') or ())}" if tries else "none"
    yield Setting(f"{what}: retries", words, ("mesh.retries", "mesh.retry_on", "mesh.retry_methods"))


def _route_fields(match: Mapping[str, Any], routes: Sequence[Mapping[str, Any]], field: str) -> tuple[str, ...]:
    """The field of the first route of the spec that has this match's path and methods."""
    path = next((match[key] for key in _PATHS if match.get(key)), "")
    methods = set(match.get("Methods") or ())
    for index, route in enumerate(routes):
        if path in (route["path"], route.get("rewrite")) and methods <= set(route.get("methods") or methods):
            return (f"routes[{index}].{field}",)
    return ()


def _limited(defaults: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The paths with a limit, from the script by which the sidecar keeps it."""
    for extension in defaults.get("EnvoyExtensions") or ():
        script = str((extension.get("Arguments") or {}).get("Script") or "")
        for row in _ROW_WITH_LIMIT.finditer(script.partition("\n")[0]):
            yield row["path"], row["said"]


def _key(text: str) -> str:
    """Consul writes the same setting as ``max_failures`` or ``MaxFailures``, by where it comes from."""
    return text.replace("_", "").lower()


def _nanoseconds(value: Any) -> int:
    cleaned = normal_entry({"Interval": value})["Interval"] if isinstance(value, str) else value
    return int(cleaned)


def _time(nanoseconds: int) -> str:
    milliseconds = int(nanoseconds) // _NS
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
