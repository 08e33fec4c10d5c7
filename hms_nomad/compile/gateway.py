"""Spec + Platform -> the routes of a service through the API gateway, and what they need beside them.

A request through the gateway follows the service's splitter, and its resolver behind that, but not its router: Consul
takes timeouts and retries of such a request from http-routes alone, so they are copied there. The header that asks for
the new release is a rule there too, to a name of its own (``hms_nomad.compile.canary``). Each rule is an entry of its
own (``hms_nomad.compile.http_routes``).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from hms_nomad.compile.canary import canary_entries
from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Intention
from hms_nomad.compile.http_routes import (
    ALLOW_HEADER,
    GATEWAY_KIND,
    LISTENER,
    PROBE_HEADER,
    PROBE_PATH,
    ROUTE_KIND,
    probe_match,
    route_entries,
)
from hms_nomad.compile.routes import KEPT_ID, PATH_KEYS, permission
from hms_nomad.patterns import lazy_pattern
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.platform.model_proxies import Gateway, JwtProvider
from hms_nomad.spec.model import Route, Spec

PLATFORM_KEY = "platform"
"""Key in the meta of the platform's own jobs, which are no services; its value says what the job is."""

TOKEN_HEADER = "x-hms-token"  # noqa: S105 - the name of a header
"""Header of an answer whose refusal the gateway turns into 401; it names who issues the tokens."""

_PLACEHOLDER = lazy_pattern(r"(?<![{$])\{([a-z_]+)\}")
_MATCHES = {key: word for word, key in PATH_KEYS.items()}
_FILTERED = {"NumRetries", "RetryOn", "RetryOnStatusCodes", "RetryOnConnectFailure"}


def is_public(spec: Spec) -> bool:
    """True when the outside may reach a route of this service."""
    return any(route.public for route in spec.routes)


def gateway_routes(spec: Spec, platform: Platform, router: ConfigEntry | None) -> tuple[ConfigEntry, ...]:
    """The http-routes of a service, from those routes of its service-router that the spec calls public.

    None when there are none, or when the platform has no gateway. Unlike in a router, one match names one method.
    """
    if platform.gateway is None or router is None or not is_public(spec):
        return ()
    rules: list[dict[str, Any]] = [
        {"Matches": list(_matches(route["Match"]["HTTP"])), **_filters(spec, route["Destination"])}
        for route in router.body["Routes"]
        if _belongs_to_public(route["Match"]["HTTP"], spec.routes)
    ]
    last = [_last_resort(path, methods) for path, methods in _closed_paths(spec)]
    frame: dict[str, Any] = {"Parents": _parents(platform.gateway)}
    if spec.gateway.hosts:
        frame["Hostnames"] = [host.lower() for host in spec.gateway.hosts]
    return route_entries(spec.name, [*rules, *last], frame)


def gateway_canary(spec: Spec, platform: Platform) -> tuple[ConfigEntry, ...]:
    """What stands for the second name of a service behind the gateway; nothing where it has no way through one."""
    return canary_entries(spec.name) if platform.gateway is not None and is_public(spec) else ()


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
    permissions = (*_probe_denied(spec), *own, rest)
    return Intention(source=platform.gateway.name, destination=spec.name, declared_by="public", permissions=permissions)


def _probe_denied(spec: Spec) -> Iterator[dict[str, Any]]:
    """The denial of probes, where a public route would let them through to the service: each entry has a probe of its
    own, and a rewritten path is one that the service answers.
    """
    if any(
        route.rewrite or route.match == "regex" or (route.match == "prefix" and PROBE_PATH.startswith(route.path))
        for route in spec.routes
        if route.public
    ):
        yield {"Action": "deny", "HTTP": {"PathPrefix": "/", "Header": [{"Name": PROBE_HEADER, "Present": True}]}}


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
    route = {
        "Kind": ROUTE_KIND,
        "Name": gateway.name,
        "Meta": meta,
        "Parents": _parents(gateway),
        "Rules": [{"Matches": [probe_match(gateway.name, "TRACE")], "Services": [{"Name": gateway.name, "Weight": 1}]}],
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


def _last_resort(path: Mapping[str, str], methods: list[str]) -> dict[str, Any]:
    """The rule for requests with another method: the service's sidecar refuses them, and the gateway says 405."""
    mark = {"Headers": [{"Set": {ALLOW_HEADER: ", ".join(methods), **KEPT_ID}}]}
    return {"Matches": [{"Path": path}], "ResponseFilters": mark}


def _parents(gateway: Gateway) -> list[dict[str, str]]:
    return [{"Kind": GATEWAY_KIND, "Name": gateway.name, "SectionName": LISTENER}]


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
