"""Spec -> Consul config entries: what the mesh knows of a service apart from its instances."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Intention
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Route, Spec

_MILLISECOND = 1_000_000
PATH_KEYS = {"exact": "PathExact", "prefix": "PathPrefix", "regex": "PathRegex"}
"""How Consul's routers and permissions call each way of comparing a path."""


def config_entries(spec: Spec, release: str) -> tuple[ConfigEntry, ...]:
    """The service's own entries in the order in which Consul accepts them: defaults, resolver, router."""
    entries = [defaults(spec), _resolver(spec, release)]
    if spec.protocol != "tcp":
        entries.append(router(spec))
    return tuple(entries)


def subset(release: str) -> dict[str, Any]:
    """The subset of a service-resolver that holds the instances of one release.

    A release never changes during an instance's life, while Nomad's canary tags go at promotion: a subset by tag loses
    its instances then.
    """
    return {"Filter": f'Service.Meta.release == "{release}"', "OnlyPassing": True}


def intentions(spec: Spec) -> tuple[Intention, ...]:
    """Who may call whom, as far as this spec says it: nobody calls us but those we allow; we call those we use."""
    mine = [Intention(source="*", destination=spec.name, declared_by="default", action="deny")]
    mine += [Intention(source=name, destination=spec.name, declared_by="allow") for name in sorted(set(spec.allow))]
    mine += [Intention(source=spec.name, destination=name, declared_by="uses") for name in sorted(set(spec.uses))]
    return tuple(mine)


def permissions(routes: tuple[Route, ...]) -> tuple[dict[str, Any], ...]:
    """L7 permissions of an intention that allow exactly the declared routes; none when everything is answered."""
    return tuple({"Action": "allow", "HTTP": _match(route)} for route in routes)


def defaults(spec: Spec) -> ConfigEntry:
    """The service-defaults: protocol, and the limit of one try."""
    body: dict[str, Any] = {"Protocol": spec.protocol}
    if spec.protocol != "tcp":
        # The limit at the instance is what ends one try, so that the caller's sidecar can go on to another instance.
        longest = max([nanoseconds(spec.mesh.timeout), *(nanoseconds(r.timeout) for r in spec.routes if r.timeout)])
        body["LocalRequestTimeoutMs"] = longest // _MILLISECOND
    return _entry("service-defaults", spec.name, body)


def _resolver(spec: Spec, release: str) -> ConfigEntry:
    """All traffic goes to one release; what a rollout adds to it is in ``hms_nomad.rollout.traffic``."""
    body = {
        "ConnectTimeout": spec.mesh.connect_timeout,
        "DefaultSubset": release,
        "Subsets": {release: subset(release)},
    }
    return _entry("service-resolver", spec.name, body)


def router(spec: Spec) -> ConfigEntry:
    """The service-router: what is answered, with limits and retries; everything where no route is declared."""
    routes = [
        {
            "Match": {"HTTP": _match(route)},
            "Destination": _destination(spec, route.timeout or spec.mesh.timeout),
        }
        for route in spec.routes
    ]
    if not routes:
        whole = {"HTTP": {"PathPrefix": "/"}}
        routes = [{"Match": whole, "Destination": _destination(spec, spec.mesh.timeout)}]
    return _entry("service-router", spec.name, {"Routes": routes})


def _destination(spec: Spec, timeout: str) -> dict[str, Any]:
    """Retries and the limit over all tries: a try ends at the instance's own limit, the request after the last try."""
    tries = spec.mesh.retries + 1
    destination: dict[str, Any] = {"RequestTimeout": f"{nanoseconds(timeout) * tries // _MILLISECOND}ms"}
    if spec.mesh.retries:
        destination["NumRetries"] = spec.mesh.retries
        destination["RetryOn"] = list(spec.mesh.retry_on)
    return destination


def _match(route: Route) -> dict[str, Any]:
    match: dict[str, Any] = {PATH_KEYS[route.match]: route.path}
    if route.methods:
        match["Methods"] = list(route.methods)
    return match


def _entry(kind: str, name: str, body: dict[str, Any]) -> ConfigEntry:
    return ConfigEntry(kind=kind, name=name, body={"Kind": kind, "Name": name, "Meta": {OWNER_KEY: OWNER}, **body})
