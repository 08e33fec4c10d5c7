"""Platform -> the jobs that are proxies: the gateway for what comes in, and the egress for what goes out.

Both are Envoy in the node's own network, guided by Consul; they differ in what Consul tells them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry
from hms_nomad.compile.gateway import GATEWAY_KIND, filled, gateway_entry
from hms_nomad.compile.names import canonical
from hms_nomad.compile.platform_job import CompiledPlatformJob, finished
from hms_nomad.platform.model import Egress, Gateway, Platform, PlatformError, Proxy

EGRESS_KIND = "terminating-gateway"

_LOWEST_UNPRIVILEGED_PORT = 1024
_GATEWAY_ABOUT = "API gateway of the platform: the way in for every route that a spec calls public."
_EGRESS_ABOUT = "Egress of the platform: the way out to what lies outside the mesh, such as databases."


def compile_gateway(
    job: Mapping[str, Any], bootstrap: Mapping[str, Any], platform: Platform, gateway: Gateway
) -> CompiledPlatformJob:
    """The gateway's job and its api-gateway entry, from the shipped ``job`` and Envoy ``bootstrap``.

    Raises PlatformError when the platform's sidecars run in containers but no image is named.
    """
    about = {"kind": GATEWAY_KIND, "role": "gateway", "about": _GATEWAY_ABOUT}
    return _compiled(job, bootstrap, platform, gateway, about, gateway_entry(gateway))


def compile_egress(
    job: Mapping[str, Any], bootstrap: Mapping[str, Any], platform: Platform, egress: Egress
) -> CompiledPlatformJob:
    """The egress's job and its terminating-gateway entry, which knows no service yet. Raises PlatformError."""
    about = {"kind": EGRESS_KIND, "role": "egress", "about": _EGRESS_ABOUT}
    return _compiled(job, bootstrap, platform, egress, about, egress_entry(egress))


def egress_entry(egress: Egress) -> ConfigEntry:
    """The terminating-gateway entry without any service."""
    body = {"Kind": EGRESS_KIND, "Name": egress.name, "Meta": {OWNER_KEY: OWNER}, "Services": []}
    return ConfigEntry(kind=EGRESS_KIND, name=egress.name, body=body)


def _compiled(
    job: Mapping[str, Any],
    bootstrap: Mapping[str, Any],
    platform: Platform,
    proxy: Proxy,
    about: Mapping[str, str],
    entry: ConfigEntry,
) -> CompiledPlatformJob:
    host, _, port = (proxy.consul_grpc or "127.0.0.1:${attr.consul.grpc}").partition(":")
    values: dict[str, Any] = {
        **about,
        "name": proxy.name,
        "namespace": platform.namespace,
        "region": platform.region,
        "datacenters": list(platform.datacenters),
        "node_pool": proxy.node_pool or platform.node_pool,
        "instances": proxy.instances,
        "port": proxy.port,
        "cpu": proxy.cpu,
        "memory": proxy.memory,
        "grpc_host": host,
        "grpc_port": port,
        **_driver(platform, privileged=proxy.port < _LOWEST_UNPRIVILEGED_PORT),
    }
    values["bootstrap"] = canonical(filled(bootstrap, values))
    done = finished(filled(job, values))
    return CompiledPlatformJob(done.name, done.job, done.digest, entry)


def _driver(platform: Platform, *, privileged: bool) -> dict[str, Any]:
    """How Envoy runs: as the sidecars of this platform do, in the node's own network."""
    sidecar = platform.sidecar
    arguments = ["-c", "${NOMAD_SECRETS_DIR}/envoy.json", "-l", "warning", "--disable-hot-restart"]
    if sidecar.driver == "docker":
        if sidecar.image is None:
            raise PlatformError("it runs in a container: name Envoy's image in the platform's sidecar.image")
        config: dict[str, Any] = {"image": sidecar.image, "args": arguments, "network_mode": "host"}
    else:
        config = {"command": sidecar.command, "args": arguments}
    # Only a port below 1024 needs root, which Nomad denies to the exec driver unless its configuration allows it.
    root = privileged or sidecar.driver == "raw_exec"
    return {
        "driver": sidecar.driver,
        "driver_config": config,
        "user": "root" if root else "",
        "envoy_uid": "0" if root else "101",
        # Another account must be able to read it; the folder of secrets is closed to other tasks.
        "bootstrap_mode": "0600" if root else "0644",
    }
