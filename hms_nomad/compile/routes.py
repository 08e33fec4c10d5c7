"""Routes of a spec -> those of a service-router, and back: what a stored router answers, and who is allowed what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import AFTER_THE_FACT, Route, Spec
from hms_nomad.spec.model_gateway import HeaderRules

_MILLISECOND = 1_000_000
KEPT_ID = {"x-request-id": "%REQ(x-request-id)%"}
"""Header of answers: the id of the request, which Envoy makes where a caller sends none."""

PATH_KEYS = {"exact": "PathExact", "prefix": "PathPrefix", "regex": "PathRegex"}
"""How Consul's routers and permissions call each way of comparing a path."""

_RETRIES = ("NumRetries", "RetryOn")


def routed(spec: Spec) -> list[dict[str, Any]]:
    """The routes of the service's router, with limits and retries; one for everything where none is declared.

    A route becomes two where only some of its methods may be carried out twice: a router asks for a method, and not
    whether a request was carried out.
    """
    return [part for route in spec.routes or (Route(path="/"),) for part in _parts(spec, route)]


def whole_routes(routes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Routes of a stored router for ordinary requests, with those put together again that differ in retries alone.

    Routes that a header or the query chooses belong to rollouts, and are left out.
    """
    found: list[dict[str, Any]] = []
    for route in routes:
        match = _http(route)
        if match.get("Header") or match.get("QueryParam"):
            continue
        methods = list(match.get("Methods") or ())
        before = found[-1] if found else None
        earlier = list(_http(before).get("Methods") or ()) if before else []
        if before is not None and earlier and _but_for_retries(before) == _but_for_retries(route):
            both = [*earlier, *(one for one in methods if one not in earlier)] if methods else []
            found[-1] = {**before, "Match": {"HTTP": {**_http(before), "Methods": both}}}
        else:
            found.append(dict(route))
    return found


def permission(route: Route) -> dict[str, Any]:
    """The L7 permission of an intention that allows exactly one route."""
    return {"Action": "allow", "HTTP": _seen(route)}


def permissions_of_router(router: Mapping[str, Any] | None) -> tuple[dict[str, Any], ...]:
    """L7 permissions for exactly what a service-router answers; empty (everything) without one."""
    if router is None:
        return ()
    matches = [_as_seen(route) for route in whole_routes(router.get("Routes") or ())]
    keys = (*PATH_KEYS.values(), "Methods")
    paths = [{key: match[key] for key in keys if match.get(key)} for match in matches]
    if not paths or {"PathPrefix": "/"} in paths:
        return ()
    return tuple({"Action": "allow", "HTTP": path} for path in paths)


def _parts(spec: Spec, route: Route) -> list[dict[str, Any]]:
    policy = spec.mesh
    early = tuple(condition for condition in policy.retry_on if condition not in AFTER_THE_FACT)
    again = tuple(method for method in route.methods or policy.retry_methods if method in policy.retry_methods)
    rest = tuple(method for method in route.methods if method not in again)
    if not policy.retries or early == policy.retry_on or (route.methods and not rest):
        return [_part(spec, route, route.methods, policy.retry_on)]
    if not again:
        return [_part(spec, route, route.methods, early)]
    return [_part(spec, route, again, policy.retry_on), _part(spec, route, rest, early)]


def _part(spec: Spec, route: Route, methods: tuple[str, ...], retry_on: tuple[str, ...]) -> dict[str, Any]:
    match: dict[str, Any] = {PATH_KEYS[route.match]: route.path}
    if methods:
        match["Methods"] = list(methods)
    destination = _limits(spec, route.timeout or spec.mesh.timeout, retry_on) | _changes(route)
    return {"Match": {"HTTP": match}, "Destination": destination}


def _limits(spec: Spec, timeout: str, retry_on: tuple[str, ...]) -> dict[str, Any]:
    """Retries and the limit over all tries: a try ends at the instance's own limit, the request after the last try."""
    tries = spec.mesh.retries + 1
    limits: dict[str, Any] = {"RequestTimeout": f"{nanoseconds(timeout) * tries // _MILLISECOND}ms"}
    if spec.mesh.retries and retry_on:
        limits["NumRetries"] = spec.mesh.retries
        limits["RetryOn"] = list(retry_on)
    return limits


def _changes(route: Route) -> dict[str, Any]:
    """What is changed on the way. The request's id goes back to the caller as well."""
    changes: dict[str, Any] = {"ResponseHeaders": _modifiers(route.headers.response, KEPT_ID)}
    if request := _modifiers(route.headers.request, {}):
        changes["RequestHeaders"] = request
    if route.rewrite:
        changes["PrefixRewrite"] = route.rewrite
    return changes


def _modifiers(rules: HeaderRules, more: dict[str, str]) -> dict[str, Any]:
    # Envoy reads "%" as the beginning of a command.
    found: dict[str, Any] = {}
    if values := {name.lower(): value.replace("%", "%%") for name, value in rules.set.items()} | more:
        found["Set"] = values
    if rules.remove:
        found["Remove"] = [name.lower() for name in rules.remove]
    return found


def _match(route: Route) -> dict[str, Any]:
    methods = {"Methods": list(route.methods)} if route.methods else {}
    return {PATH_KEYS[route.match]: route.path, **methods}


def _seen(route: Route) -> dict[str, Any]:
    """A request for a route as the instance's sidecar sees it, which enforces rights: after rewriting."""
    return _match(route) | ({PATH_KEYS[route.match]: route.rewrite} if route.rewrite else {})


def _as_seen(route: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a route of a router matches, with the path that is left when the callers' sidecars have rewritten it."""
    http = _http(route)
    rewritten = (route.get("Destination") or {}).get("PrefixRewrite")
    changed = [key for key in ("PathExact", "PathPrefix") if http.get(key)] if rewritten else []
    return {**http, **dict.fromkeys(changed, rewritten)}


def _http(route: Mapping[str, Any]) -> Mapping[str, Any]:
    return (route.get("Match") or {}).get("HTTP") or {}


def _but_for_retries(route: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Path and destination of a route; what Consul adds to a stored one is empty."""
    match = {key: value for key, value in _http(route).items() if key != "Methods" and value}
    destination = {
        key: value for key, value in (route.get("Destination") or {}).items() if key not in _RETRIES and value
    }
    return match, destination
