"""Spec -> Consul config entries: what the mesh knows of a service apart from its instances."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile import outbound
from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Intention
from hms_nomad.compile.limits import answers_strangers, extensions
from hms_nomad.compile.routes import routed
from hms_nomad.platform.model import Platform
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec

RESOLVER = "service-resolver"
ROUTER = "service-router"
SPLITTER = "service-splitter"

_MILLISECOND = 1_000_000
_ENVOYS_OWN_BALANCE = "round_robin"
_EVERY_REQUEST = ({"Action": "deny", "HTTP": {"PathPrefix": "/"}},)


def config_entries(spec: Spec, platform: Platform, release: str) -> tuple[ConfigEntry, ...]:
    """The service's own entries in the order in which Consul accepts them: defaults, resolver, router."""
    entries = [defaults(spec, platform), _resolver(spec, release)]
    if spec.protocol != "tcp":
        entries.append(router(spec))
    return tuple(entries)


def subset(release: str) -> dict[str, Any]:
    """The subset of a service-resolver that holds the instances of one release.

    A release never changes during an instance's life, while Nomad's canary tags go at promotion: a subset by tag loses
    its instances then.
    """
    return {"Filter": f'Service.Meta.release == "{release}"', "OnlyPassing": True}


def intentions(spec: Spec, platform: Platform) -> tuple[Intention, ...]:
    """Who may call whom, as far as this spec says it: nobody calls us but those we allow; we call those we use, where
    the platform lets a declared use be enough.
    """
    # Consul tells transparent proxies of every service that has permissions for them, be it one to refuse: only so does
    # a call that nobody declared get an answer.
    refused = _EVERY_REQUEST if answers_strangers(spec, platform) else None
    mine = [Intention(source="*", destination=spec.name, declared_by="default", action="deny", permissions=refused)]
    mine += [Intention(source=name, destination=spec.name, declared_by="allow") for name in sorted(set(spec.allow))]
    uses = sorted(set(spec.uses)) if platform.uses_grant else []
    mine += [Intention(source=spec.name, destination=name, declared_by="uses") for name in uses]
    return tuple(mine)


def defaults(spec: Spec, platform: Platform) -> ConfigEntry:
    """The service-defaults: protocol, the limits of one try and of connections, and the sidecar's extensions."""
    body: dict[str, Any] = {"Protocol": spec.protocol}
    if spec.protocol != "tcp":
        # The limit at the instance is what ends one try, so that the caller's sidecar can go on to another instance.
        longest = max([nanoseconds(spec.mesh.timeout), *(nanoseconds(r.timeout) for r in spec.routes if r.timeout)])
        body["LocalRequestTimeoutMs"] = longest // _MILLISECOND
    if spec.mesh.max_connections:
        body["MaxInboundConnections"] = spec.mesh.max_connections
    if scripts := extensions(spec, platform) + outbound.extensions(spec, platform):
        body["EnvoyExtensions"] = scripts
    return _entry("service-defaults", spec.name, body)


def _resolver(spec: Spec, release: str) -> ConfigEntry:
    """All traffic goes to one release; what a rollout adds to it is in ``hms_nomad.rollout.traffic``."""
    body: dict[str, Any] = {
        "ConnectTimeout": spec.mesh.connect_timeout,
        "DefaultSubset": release,
        "Subsets": {release: subset(release)},
    }
    if spec.mesh.balance != _ENVOYS_OWN_BALANCE:
        body["LoadBalancer"] = {"Policy": spec.mesh.balance}
    return _entry("service-resolver", spec.name, body)


def router(spec: Spec) -> ConfigEntry:
    """The service-router: what is answered, with limits and retries; everything where no route is declared."""
    return _entry("service-router", spec.name, {"Routes": routed(spec)})


def _entry(kind: str, name: str, body: dict[str, Any]) -> ConfigEntry:
    return ConfigEntry(kind=kind, name=name, body={"Kind": kind, "Name": name, "Meta": {OWNER_KEY: OWNER}, **body})
