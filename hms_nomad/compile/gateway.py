"""Spec + Platform -> the routes of a service through the API gateway, and what they need beside them.

A request through the gateway follows the service's splitter, and its resolver behind that, but not its router: Consul
takes timeouts and retries of such a request from the http-route alone, so they are copied into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Intention
from hms_nomad.compile.entries import PATH_KEYS, permissions
from hms_nomad.compile.names import short_hash
from hms_nomad.platform.model import Gateway, Platform
from hms_nomad.spec.model import Route, Spec

ROUTE_KIND = "http-route"
GATEWAY_KIND = "api-gateway"
PLATFORM_KEY = "platform"
"""Key in the meta of the platform's own jobs, which are no services; its value says what the job is."""

LISTENER = "http"
"""Name of the gateway's listener, which is also the label of its port in the job."""

PROBE_PATH = "/.well-known/hms-nomad/route"
PROBE_HEADER = "x-hms-nomad-route"
"""A request with this header at the probe's path reaches the service's sidecar, which refuses it.

It proves that the gateway has exactly this version of the route, and can speak to an instance, without any request to
the service itself.
"""

_PLACEHOLDER = re.compile(r"(?<![{$])\{([a-z_]+)\}")
_MATCHES = {key: word for word, key in PATH_KEYS.items()}
_FILTERED = {"NumRetries", "RetryOn", "RetryOnStatusCodes", "RetryOnConnectFailure"}


def is_public(spec: Spec) -> bool:
    """True when the outside may reach a route of this service."""
    return any(route.public for route in spec.routes)


def gateway_route(spec: Spec, platform: Platform, router: ConfigEntry | None) -> ConfigEntry | None:
    """The http-route of a service, from those routes of its service-router that the spec calls public.

    None when there are none, or when the platform has no gateway. Unlike in a router, one match names one method.
    """
    if platform.gateway is None or router is None or not is_public(spec):
        return None
    services = [{"Name": spec.name, "Weight": 1}]
    rules: list[dict[str, Any]] = [
        {"Matches": list(_matches(route["Match"]["HTTP"])), "Services": services, **_filters(route["Destination"])}
        for route in router.body["Routes"]
        if _belongs_to_public(route["Match"]["HTTP"], spec.routes)
    ]
    version = f"{spec.name}.{short_hash(rules, 12)}"
    probe = {
        "Method": "GET",
        "Path": {"Match": "exact", "Value": PROBE_PATH},
        "Headers": [{"Match": "exact", "Name": PROBE_HEADER, "Value": version}],
    }
    body = {
        "Kind": ROUTE_KIND,
        "Name": spec.name,
        "Meta": {OWNER_KEY: OWNER},
        "Parents": [{"Kind": GATEWAY_KIND, "Name": platform.gateway.name, "SectionName": LISTENER}],
        "Rules": [*rules, {"Matches": [probe], "Services": services}],
    }
    return ConfigEntry(kind=ROUTE_KIND, name=spec.name, body=body)


def gateway_splitter(spec: Spec, platform: Platform, release: str) -> ConfigEntry | None:
    """The service-splitter that a service behind the gateway keeps, with all traffic in one part.

    Without it Consul (1.20) sends requests of the gateway to a cluster that it never defines, and each is answered
    with 503, as soon as the service's resolver names a default subset.
    """
    if platform.gateway is None or spec.protocol != "http" or not is_public(spec):
        return None
    body = {
        "Kind": "service-splitter",
        "Name": spec.name,
        "Meta": {OWNER_KEY: OWNER},
        "Splits": [{"Weight": 100, "ServiceSubset": release}],
    }
    return ConfigEntry(kind="service-splitter", name=spec.name, body=body)


def gateway_intention(spec: Spec, platform: Platform) -> Intention | None:
    """The gateway's right to call a service: its public routes, in the order in which the spec lists all of them.

    A route that is not public is denied first where it lies inside a public one. The last word is a denial, which
    holds also where Consul allows what no intention speaks of.
    """
    if platform.gateway is None or not is_public(spec):
        return None
    own = tuple(
        {**permission, "Action": "allow" if route.public else "deny"}
        for route, permission in zip(spec.routes, permissions(spec.routes), strict=True)
    )
    rest = {"Action": "deny", "HTTP": {"PathPrefix": "/"}}
    return Intention(
        source=platform.gateway.name, destination=spec.name, declared_by="public", permissions=(*own, rest)
    )


def probe_version(route: Mapping[str, Any]) -> str:
    """The value of the probe's header that a stored or compiled http-route of ours answers to; "" for others."""
    for rule in route.get("Rules") or ():
        for match in rule.get("Matches") or ():
            if (match.get("Path") or {}).get("Value") == PROBE_PATH:
                return next((str(header["Value"]) for header in match.get("Headers") or ()), "")
    return ""


def gateway_entry(gateway: Gateway) -> ConfigEntry:
    """The api-gateway entry: one listener for plain HTTP on the port of the job."""
    body = {
        "Kind": GATEWAY_KIND,
        "Name": gateway.name,
        "Meta": {OWNER_KEY: OWNER},
        "Listeners": [{"Name": LISTENER, "Port": gateway.port, "Protocol": "http"}],
    }
    return ConfigEntry(kind=GATEWAY_KIND, name=gateway.name, body=body)


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Shipped data with its ``{placeholders}`` replaced; a string that is nothing else takes the value's own type.

    Raises KeyError for a placeholder without a value.
    """
    if isinstance(value, Mapping):
        return {key: filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, values) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    return values[whole.group(1)] if whole else _PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), value)


def _belongs_to_public(match: Mapping[str, Any], routes: tuple[Route, ...]) -> bool:
    """True when the first route of the spec that has this match's path and methods is public.

    A match that looks at headers or the query is none of the spec's routes.
    """
    if match.get("Header") or match.get("QueryParam"):
        return False
    methods = set(match.get("Methods") or ())
    for route in routes:
        if match.get(PATH_KEYS[route.match]) == route.path and methods <= set(route.methods or methods):
            return route.public
    return False


def _matches(match: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    path = next({"Match": word, "Value": match[key]} for key, word in _MATCHES.items() if match.get(key))
    for method in match.get("Methods") or ("",):
        yield {"Method": method, "Path": path} if method else {"Path": path}


def _filters(destination: Mapping[str, Any]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if retries := {key: value for key, value in destination.items() if key in _FILTERED}:
        filters["RetryFilter"] = retries
    if timeout := destination.get("RequestTimeout"):
        filters["TimeoutFilter"] = {"RequestTimeout": timeout}
    return {"Filters": filters} if filters else {}
