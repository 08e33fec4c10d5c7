"""Spec + Platform -> the routes of a service through the API gateway, and what they need beside them.

A request through the gateway follows the service's splitter, and its resolver behind that, but not its router: Consul
takes timeouts and retries of such a request from the http-route alone, so they are copied into it. The header that asks
for the new release is a rule there too, to a name of its own (``hms_nomad.compile.canary``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hms_nomad.compile.canary import ROUTED_HEADER, canary_entries, canary_name
from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Intention
from hms_nomad.compile.names import short_hash
from hms_nomad.compile.routes import KEPT_ID, PATH_KEYS, permission
from hms_nomad.platform.model import Gateway, JwtProvider, Platform, PlatformError
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

ALLOW_HEADER = "x-hms-allow"
"""Header of an answer that the gateway turns into 405; it names the methods that the path answers."""

TOKEN_HEADER = "x-hms-token"  # noqa: S105 - the name of a header
"""Header of an answer whose refusal the gateway turns into 401; it names who issues the tokens."""

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
    services = _to(spec.name)
    open_to_all: list[dict[str, Any]] = [
        {
            "Matches": list(_matches(route["Match"]["HTTP"])),
            "Services": services,
            **_filters(spec, route["Destination"]),
        }
        for route in router.body["Routes"]
        if _belongs_to_public(route["Match"]["HTTP"], spec.routes)
    ]
    rules = [*open_to_all, *(_last_resort(path, methods, services) for path, methods in _closed_paths(spec))]
    version = f"{spec.name}.{short_hash(rules, 12)}"
    probe = {
        "Method": "GET",
        "Path": {"Match": "exact", "Value": PROBE_PATH},
        "Headers": [{"Match": "exact", "Name": PROBE_HEADER, "Value": version}],
    }
    headed = [_headed(rule, spec.name) for rule in open_to_all]
    body = {
        "Kind": ROUTE_KIND,
        "Name": spec.name,
        "Meta": {OWNER_KEY: OWNER},
        "Parents": [{"Kind": GATEWAY_KIND, "Name": platform.gateway.name, "SectionName": LISTENER}],
        "Rules": [*headed, *rules, {"Matches": [probe], "Services": services}],
    }
    if spec.gateway.hosts:
        body["Hostnames"] = [host.lower() for host in spec.gateway.hosts]
    return ConfigEntry(kind=ROUTE_KIND, name=spec.name, body=body)


def gateway_canary(spec: Spec, platform: Platform) -> tuple[ConfigEntry, ...]:
    """What stands for the second name of a service behind the gateway; nothing where it has no way through one."""
    return canary_entries(spec.name) if platform.gateway is not None and is_public(spec) else ()


def is_headed(rule: Mapping[str, Any]) -> bool:
    """True for a rule of an http-route for requests that ask for the new release."""
    return any(
        header.get("Name") == ROUTED_HEADER["Name"]
        for match in rule.get("Matches") or ()
        for header in match.get("Headers") or ()
    )


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
    token = _token(spec, platform.gateway)
    own = tuple(
        {**permission(route), **token} if route.public else {**permission(route), "Action": "deny"}
        for route in spec.routes
    )
    rest = {"Action": "deny", "HTTP": {"PathPrefix": "/"}}
    return Intention(
        source=platform.gateway.name, destination=spec.name, declared_by="public", permissions=(*own, rest)
    )


def _token(spec: Spec, gateway: Gateway) -> dict[str, Any]:
    """What a permission says of the token that a request must carry (Consul, service-intentions, "JWT")."""
    asked = spec.gateway.jwt
    if asked is None:
        return {}
    known = [one.name for one in gateway.jwt]
    if asked.provider not in known:
        why = f"{spec.name} asks for tokens of {asked.provider}, of which the platform knows nothing"
        raise PlatformError(f"{why}; gateway.jwt in its context names: {', '.join(known) or 'nobody'}")
    provider: dict[str, Any] = {"Name": asked.provider}
    if asked.claims:
        provider["VerifyClaims"] = [
            {"Path": name.split("."), "Value": value} for name, value in sorted(asked.claims.items())
        ]
    return {"JWT": {"Providers": [provider]}}


_CLOCK_SKEW_SECONDS = 30
"""What Consul writes into an entry that says nothing; said by us, so that the stored one is no difference."""


def provider_entry(provider: JwtProvider) -> ConfigEntry:
    """The jwt-provider entry: whose tokens are known, and by which keys they are checked.

    Without the type of discovery Consul (1.20) writes a cluster that no sidecar of the whole mesh takes.
    """
    keys: dict[str, Any] = {"Local": {"JWKS": base64.b64encode((provider.jwks or "").encode()).decode()}}
    if provider.jwks_url:
        keys = {"Remote": {"URI": provider.jwks_url, "JWKSCluster": {"DiscoveryType": "STRICT_DNS"}}}
    body: dict[str, Any] = {
        "Kind": "jwt-provider",
        "Name": provider.name,
        "Meta": {OWNER_KEY: OWNER, PLATFORM_KEY: "gateway"},
        "Issuer": provider.issuer,
        "JSONWebKeySet": keys,
        "ClockSkewSeconds": _CLOCK_SKEW_SECONDS,
    }
    if provider.audiences:
        body["Audiences"] = list(provider.audiences)
    return ConfigEntry("jwt-provider", provider.name, body)


def probe_version(route: Mapping[str, Any]) -> str:
    """The value of the probe's header that a stored or compiled http-route of ours answers to; "" for others."""
    for rule in route.get("Rules") or ():
        for match in rule.get("Matches") or ():
            if (match.get("Path") or {}).get("Value") == PROBE_PATH:
                return next((str(header["Value"]) for header in match.get("Headers") or ()), "")
    return ""


def is_last_resort(rule: Mapping[str, Any]) -> bool:
    """True for a rule of an http-route that answers 405: it opens nothing."""
    changes = (rule.get("ResponseFilters") or {}).get("Headers") or ()
    return any(ALLOW_HEADER in (change.get("Set") or {}) for change in changes)


def gateway_entry(gateway: Gateway) -> ConfigEntry:
    """The api-gateway entry: one listener, by whose port Envoy asks for the routes. TLS is Envoy's own matter."""
    body = {
        "Kind": GATEWAY_KIND,
        "Name": gateway.name,
        "Meta": {OWNER_KEY: OWNER},
        "Listeners": [{"Name": LISTENER, "Port": gateway.port, "Protocol": "http"}],
    }
    return ConfigEntry(kind=GATEWAY_KIND, name=gateway.name, body=body)


def standing_entries(gateway: Gateway) -> tuple[ConfigEntry, ConfigEntry]:
    """The gateway as a service that speaks HTTP, and a route to it that nobody can ask for.

    Envoy keeps the last route that Consul took away, so there is always one more.
    """
    meta = {OWNER_KEY: OWNER, PLATFORM_KEY: "gateway"}
    defaults = {"Kind": "service-defaults", "Name": gateway.name, "Meta": meta, "Protocol": "http"}
    match = {
        "Method": "TRACE",
        "Path": {"Match": "exact", "Value": PROBE_PATH},
        "Headers": [{"Match": "exact", "Name": PROBE_HEADER, "Value": gateway.name}],
    }
    route = {
        "Kind": ROUTE_KIND,
        "Name": gateway.name,
        "Meta": meta,
        "Parents": [{"Kind": GATEWAY_KIND, "Name": gateway.name, "SectionName": LISTENER}],
        "Rules": [{"Matches": [match], "Services": [{"Name": gateway.name, "Weight": 1}]}],
    }
    return (
        ConfigEntry("service-defaults", gateway.name, defaults),
        ConfigEntry(ROUTE_KIND, gateway.name, route),
    )


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


def _closed_paths(spec: Spec) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The public paths that answer some methods only, with these, where no other public route may answer the others.

    Consul asks routes by how exact their paths are, and not in the order of the spec.
    """
    public = [route for route in spec.routes if route.public]
    if any(route.match == "regex" for route in public):
        return
    for place in dict.fromkeys((route.match, route.path) for route in public):
        here = [route for route in public if (route.match, route.path) == place]
        wider = any(
            other not in here and other.match == "prefix" and place[1].startswith(other.path) for other in public
        )
        if not wider and all(route.methods for route in here):
            yield {"Match": place[0], "Value": place[1]}, sorted({one for route in here for one in route.methods})


def _headed(rule: Mapping[str, Any], service: str) -> dict[str, Any]:
    """The same rule for requests that ask for the new release. Consul asks it first, for it names one header more."""
    matches = [{**match, "Headers": [*(match.get("Headers") or ()), ROUTED_HEADER]} for match in rule["Matches"]]
    return {**rule, "Matches": matches, "Services": _to(canary_name(service))}


def _to(service: str) -> list[dict[str, Any]]:
    return [{"Name": service, "Weight": 1}]


def _last_resort(path: Mapping[str, str], methods: list[str], services: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule for requests with another method: the service's sidecar refuses them, and the gateway says 405."""
    mark = {"Headers": [{"Set": {ALLOW_HEADER: ", ".join(methods), **KEPT_ID}}]}
    return {"Matches": [{"Path": path}], "Services": services, "ResponseFilters": mark}


def _matches(match: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    path = next({"Match": word, "Value": match[key]} for key, word in _MATCHES.items() if match.get(key))
    for method in match.get("Methods") or ("",):
        yield {"Method": method, "Path": path} if method else {"Path": path}


def _filters(spec: Spec, destination: Mapping[str, Any]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if retries := {key: value for key, value in destination.items() if key in _FILTERED}:
        filters["RetryFilter"] = retries
    if timeout := destination.get("RequestTimeout"):
        filters["TimeoutFilter"] = {"RequestTimeout": timeout}
    if rewritten := destination.get("PrefixRewrite"):
        filters["URLRewrite"] = {"Path": rewritten}
    if changed := destination.get("RequestHeaders"):
        filters["Headers"] = [changed]
    answer = dict(destination["ResponseHeaders"])
    if spec.gateway.jwt:
        answer["Set"] = {**answer["Set"], TOKEN_HEADER: spec.gateway.jwt.provider}
    whole: dict[str, Any] = {"ResponseFilters": {"Headers": [answer]}}
    return {"Filters": filters, **whole} if filters else whole
