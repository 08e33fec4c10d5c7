"""The objects that a spec stands for, as frozen values in the servers' own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

OWNER_KEY = "managed-by"
OWNER = "hms-nomad"
OWNER_MARK = f"{OWNER_KEY}: {OWNER}"
"""The same as one text, for objects that have a description and no meta."""


class ConfigEntry(Struct, frozen=True):
    """A Consul config entry; ``body`` is what ``PUT /v1/config`` takes, including Kind, Name and Meta."""

    kind: str
    name: str
    body: Mapping[str, Any]


class Intention(Struct, frozen=True):
    """One caller's right to call one service: a single source inside the destination's service-intentions entry.

    The destination's owner and every caller write into the same entry, so the unit that we own is the source, not
    the entry. ``declared_by`` is "uses" (the caller's spec), "allow", "public" or "default" (the destination's spec);
    ``source`` "*" stands for everybody who is not named; ``action`` is "allow" or "deny". ``permissions`` are the
    source's own L7 permissions, where it does not get those of the destination.
    """

    source: str
    destination: str
    declared_by: str
    action: str = "allow"
    permissions: tuple[Mapping[str, Any], ...] | None = None


class RegistryRecord(Struct, frozen=True):
    """What the registry says of a service once it runs; it is derived from the catalog, never stored beside it."""

    name: str
    version: str
    release: str
    url: str
    port: int
    protocol: str
    routes: tuple[Mapping[str, Any], ...]


class Outside(Struct, frozen=True):
    """Where a service outside the mesh is.

    ``node``, ``address``, ``port`` and ``meta`` are its registration in Consul's catalog; ``link`` is its part of the
    terminating-gateway entry ``egress``.
    """

    node: str
    address: str
    port: int
    meta: Mapping[str, str]
    egress: str
    link: Mapping[str, Any]


class Evidence(Struct, frozen=True):
    """What the registry holds of how an image was made; empty where it holds nothing.

    ``bill`` is the digest of its bill of materials, ``statement`` that of the signed statement of its making.
    """

    commit: str = ""
    bill: str = ""
    statement: str = ""


class Desired(Struct, frozen=True):
    """Everything that one spec stands for on one platform.

    ``release`` is a short hash of what replaces instances when it changes; ``digest`` a hash of the whole job
    without its count. ``job`` is the struct of ``PUT /v1/jobs`` (durations in nanoseconds). ``permissions`` are the
    L7 permissions that every caller of this service gets; empty means that every request is allowed. ``vault`` holds
    roles and policies. ``outside`` is set for what runs elsewhere, which has no job and no release. ``images`` are the
    names that were pinned, with what they stand for in the job; ``evidence`` is by the latter, for the record alone.
    """

    service: str
    namespace: str
    release: str
    digest: str
    job: Mapping[str, Any]
    entries: tuple[ConfigEntry, ...]
    intentions: tuple[Intention, ...]
    permissions: tuple[Mapping[str, Any], ...]
    vault: tuple[Mapping[str, Any], ...]
    registry: RegistryRecord
    outside: Outside | None = None
    images: Mapping[str, str] = msgspec.field(default_factory=dict)
    evidence: Mapping[str, Evidence] = msgspec.field(default_factory=dict)
