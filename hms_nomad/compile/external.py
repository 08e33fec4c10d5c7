"""Spec of ``kind: external`` + Platform -> how the mesh reaches what runs elsewhere, by the platform's egress.

Consul's catalog gets its address, the egress's terminating-gateway entry gets its name; rules of who may call are
those of any service. No job belongs to it.
"""

from __future__ import annotations

from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry, Desired, Outside, RegistryRecord
from hms_nomad.compile.entries import defaults, intentions, router
from hms_nomad.compile.names import service_url, short_hash
from hms_nomad.compile.routes import permissions_of_router
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.sections.section import as_data
from hms_nomad.spec.model import Spec

EXTERNAL_KEY = "external"
"""Key in the meta of an external service's entries and registration; its value is HOST:PORT."""

_NODE_PREFIX = "hms-external-"


def compile_external(spec: Spec, platform: Platform) -> Desired:
    """What an external service stands for. Raises PlatformError when the platform has no egress."""
    if platform.egress is None:
        why = f"{spec.name} is outside the mesh, and the platform {platform.name} has no egress"
        raise PlatformError(f"{why}; remove egress: null from its context")
    entries = [_with_meta(defaults(spec, platform), spec, platform)]
    if spec.protocol != "tcp":
        entries.append(router(spec))
    outside = Outside(
        node=f"{_NODE_PREFIX}{spec.name}",
        address=spec.host or "",
        port=spec.port,
        meta=_meta(spec, platform),
        egress=platform.egress.name,
        link=_link(spec),
    )
    allowed = permissions_of_router(router(spec).body if spec.protocol != "tcp" else None)
    parts = [[entry.body for entry in entries], outside.address, outside.port, outside.meta, outside.link]
    return Desired(
        service=spec.name,
        namespace=platform.namespace,
        release="",
        digest=short_hash(parts, 16),
        job={},
        entries=tuple(entries),
        intentions=tuple(one for one in intentions(spec, platform) if one.destination == spec.name),
        permissions=allowed,
        vault=(),
        registry=RegistryRecord(
            name=spec.name,
            version=spec.version,
            release="",
            url=service_url(spec, platform),
            port=spec.port,
            protocol=spec.protocol,
            routes=tuple(as_data(route, nothing=False) for route in spec.routes),
        ),
        outside=outside,
    )


def _meta(spec: Spec, platform: Platform) -> dict[str, str]:
    meta = {
        OWNER_KEY: OWNER,
        EXTERNAL_KEY: f"{spec.host}:{spec.port}",
        "url": service_url(spec, platform),
        "version": spec.version,
    }
    if spec.owner:
        meta["owner"] = spec.owner
    return meta


def _with_meta(entry: ConfigEntry, spec: Spec, platform: Platform) -> ConfigEntry:
    return ConfigEntry(entry.kind, entry.name, {**entry.body, "Meta": _meta(spec, platform)})


def _link(spec: Spec) -> dict[str, Any]:
    """The service's part of the terminating-gateway entry (Consul: "Services")."""
    if spec.tls is None:
        return {"Name": spec.name}
    return {"Name": spec.name, "CAFile": spec.tls.ca_file, "SNI": spec.tls.server_name or spec.host}
