"""The second name of a service behind the gateway, for requests that ask for the new release by a header.

The gateway skips routers, so only the name in its own route can say where such a request goes. What stands for that
name is a redirect to the service; a rollout narrows it to the new release, and leaves the route as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry

CANARY_HEADER = "X-HMS-Canary"
"""Requests with this header and the value 1 reach the new release at any weight."""

ROUTED_HEADER: Mapping[str, str] = {"Match": "exact", "Name": CANARY_HEADER, "Value": "1"}
"""The header as an http-route matches it."""

_SUFFIX = "_canary"


def canary_name(service: str) -> str:
    """The second name of a service; no spec can have it, for names of services have no underscore."""
    return f"{service}{_SUFFIX}"


def owner_of(name: str) -> str:
    """The service that an entry's name belongs to, be it its own, its second one, or that of one of its http-routes."""
    return name.partition(".")[0].removesuffix(_SUFFIX)


def is_canary_name(name: str) -> bool:
    """True for the second name of a service, which is no service of its own."""
    return name.endswith(_SUFFIX)


def canary_entries(service: str, release: str | None = None) -> tuple[ConfigEntry, ConfigEntry]:
    """What stands for the second name: a redirect to the service, or to one ``release`` of it, in order of writing.

    Without a release nothing of it changes from one release to the next.
    """
    name = canary_name(service)
    target = {"Service": service} | ({"ServiceSubset": release} if release else {})
    return (
        _entry("service-defaults", name, {"Protocol": "http"}),
        _entry("service-resolver", name, {"Redirect": target}),
    )


def _entry(kind: str, name: str, body: dict[str, Any]) -> ConfigEntry:
    return ConfigEntry(kind, name, {"Kind": kind, "Name": name, "Meta": {OWNER_KEY: OWNER}, **body})
