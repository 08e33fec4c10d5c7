"""Stored http-routes -> the ways through the gateway that they open, and those that two services claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.clients.consul_types import Condition, StoredEntry
from hms_nomad.compile.canary import owner_of
from hms_nomad.compile.http_routes import PROBE_PATH, is_headed, is_last_resort, probe_version
from hms_nomad.spec.model import Spec

_ALL_METHODS = "*"
_ANY_HOST = "*"
_EVERYTHING: tuple[Mapping[str, Any], ...] = ({},)


class GatewayRoute(Struct, frozen=True):
    """One way through the gateway. ``method`` is "*" for all of them; ``bound`` that requests are let through."""

    service: str
    method: str
    match: str
    path: str
    url: str
    bound: bool
    reason: str
    ours: bool
    hosts: tuple[str, ...] = ()


def rows_of(entry: StoredEntry, base: str) -> Iterator[GatewayRoute]:
    """The ways through the gateway that an http-route opens; ``base`` is the gateway's URL."""
    reason = not_bound(entry.conditions)
    ours = bool(probe_version(entry.body))
    hosts = tuple(entry.body.get("Hostnames") or ())
    for rule in entry.body.get("Rules") or ():
        if is_last_resort(rule) or is_headed(rule):
            continue
        services = ", ".join(str(service["Name"]) for service in rule.get("Services") or ())
        for match in rule.get("Matches") or _EVERYTHING:
            path = match.get("Path") or {"Match": "prefix", "Value": "/"}
            if path["Value"] == PROBE_PATH:
                continue
            yield GatewayRoute(
                service=services,
                method=match.get("Method") or _ALL_METHODS,
                match=path["Match"],
                path=path["Value"],
                url="" if path["Match"] == "regex" else f"{_with_host(base, hosts)}{path['Value']}",
                bound=reason is None,
                reason=reason or "",
                ours=ours,
                hosts=hosts,
            )


def not_bound(conditions: tuple[Condition, ...]) -> str | None:
    """Why a route is not bound, or None when it is."""
    if any(condition.type == "Bound" and condition.true for condition in conditions):
        return None
    messages = [f"{condition.reason}: {condition.message}" for condition in conditions if not condition.true]
    return "; ".join(messages) or "Consul has not judged it yet"


def clashes(entries: Iterable[StoredEntry], spec: Spec) -> Iterator[str]:
    """Routes of other services that answer the very same requests: one of the two would never be used."""
    taken = {
        (host, route.match, route.path, route.method): route.service
        for entry in entries
        if owner_of(entry.name) != spec.name
        for route in rows_of(entry, "")
        for host in route.hosts or (_ANY_HOST,)
    }
    hosts = [host.lower() for host in spec.gateway.hosts] or [_ANY_HOST]
    for route in spec.routes:
        for method in (route.methods or (_ALL_METHODS,)) if route.public else ():
            places = ((host, route.match, route.path, method) for host in hosts)
            other = next((taken[place] for place in places if place in taken), None)
            if other is not None:
                yield f"the gateway has {method} {route.path} already, for {other}: one of the two is never used"


def _with_host(base: str, hosts: tuple[str, ...]) -> str:
    """The gateway's URL by a name of a host that a route asks for."""
    if not hosts or not base:
        return base
    scheme, _, place = base.partition("://")
    port = place.rpartition(":")[2]
    return f"{scheme}://{hosts[0]}" + (f":{port}" if port.isdigit() and port not in ("80", "443") else "")
