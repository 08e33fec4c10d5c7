"""Spec -> the group's Consul service: registration, check, Connect sidecar and upstreams."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.names import (
    HEALTH_PORT,
    METRICS_LISTENER,
    METRICS_META,
    METRICS_PORT,
    SCALING_META,
    TASK,
    mesh_host,
    probe_port,
    service_url,
    upstream_addresses,
    upstream_port,
)
from hms_nomad.compile.outbound import arguments
from hms_nomad.compile.tracing import proxy_config
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec

_SECOND = 1_000_000_000
# Envoy's account in its own image, and one that every Linux has, by which the kernel tells a sidecar's packets from a
# service's: services of exec are nobody.
_ACCOUNTS = {"docker": "101", "exec": "1"}
_EXEC_ACCOUNT = "daemon"
_PROCESS_DRIVERS = frozenset({"exec", "raw_exec"})

FLUSH = ("--file-flush-interval-msec", "1000")
"""Arguments of Envoy: its access log is written each second, not every ten."""

# What Nomad starts a sidecar with in a container; whoever names one argument must name all.
_NOMADS_ARGUMENTS = (
    *("-c", "${NOMAD_SECRETS_DIR}/envoy_bootstrap.json", "-l", "${meta.connect.log_level}"),
    *("--concurrency", "${meta.connect.proxy_concurrency}", "--disable-hot-restart"),
)

# An instance that dies is deregistered some seconds later; until then only the callers' own experience can keep
# requests away from it. Half of the instances at most are left out, so that an error of the service itself cannot
# empty it.
PASSIVE_HEALTH_CHECK = {
    "interval": 1 * _SECOND,
    "max_failures": 3,
    "max_ejection_percent": 50,
    "base_ejection_time": 5 * _SECOND,
}
"""When a caller's sidecar leaves an instance out for a while (Consul, ``passive_health_check`` of an upstream)."""


def group_service(spec: Spec, platform: Platform) -> dict[str, Any]:
    """The group's service block (Nomad API, job JSON, ``Services``), still without release and digest in its meta.

    The sidecar's own meta and tags stay empty on purpose: only then does Consul copy the service's meta to the
    sidecar's registration, which is what the filters of subsets look at.
    """
    proxy: dict[str, Any] = {
        "Config": {"protocol": spec.protocol, "envoy_prometheus_bind_addr": f"0.0.0.0:{METRICS_LISTENER}"}
    }
    if platform.sidecar.transparent_proxy:
        proxy["TransparentProxy"] = _transparent(spec, platform)
    if platform.tracing:
        proxy["Config"] |= proxy_config(platform.tracing, spec.name)
    if exposed := _exposed_paths(spec):
        proxy["Expose"] = {"Paths": exposed}
    if spec.uses:
        proxy["Upstreams"] = upstreams(spec)
    return {
        "Name": spec.name,
        "PortLabel": str(spec.port),
        "Provider": "consul",
        "Meta": service_meta(spec, platform),
        "Checks": _checks(spec),
        "Connect": {
            "SidecarService": _sidecar_service(spec, proxy),
            "SidecarTask": sidecar_task(spec, platform),
        },
    }


def _transparent(spec: Spec, platform: Platform) -> dict[str, Any]:
    """How a network namespace leads everything through the sidecar (Nomad API, ``TransparentProxy``).

    Dependencies keep their loopback addresses. What Prometheus reads is on a port of its own, in plain text.
    """
    account = _ACCOUNTS.get(platform.sidecar.driver)
    if account is None:
        why = f"sidecars of {platform.name} run as root under {platform.sidecar.driver}"
        mend = "let them run under exec or docker, or leave sidecar.transparent_proxy out"
        raise PlatformError(f"{why}, where a transparent proxy cannot tell them from services; {mend}")
    own = (spec.user or "").partition(":")[0]
    if own and own in (account, _EXEC_ACCOUNT):
        why = f"{spec.name} would run as {own}, which is the account of its sidecar, and so past it"
        raise PlatformError(f"{why}; give it another user")
    return {
        "UID": account,
        "ExcludeInboundPorts": [str(METRICS_LISTENER)],
        "ExcludeOutboundCIDRs": ["127.0.0.0/8"],
        "NoDNS": True,
    }


def _sidecar_service(spec: Spec, proxy: dict[str, Any]) -> dict[str, Any]:
    """The sidecar's registration.

    Nomad's own check of its listener comes every 10 seconds only, and a deployment waits for it. A health check passes
    through the same proxy, so it proves as much, at its own pace.
    """
    return {"Proxy": proxy, "DisableDefaultTCPCheck": True} if _asked_for_health(spec) else {"Proxy": proxy}


def service_meta(spec: Spec, platform: Platform) -> dict[str, str]:
    """What the registry says of each instance; changing it replaces no instance."""
    meta = {
        OWNER_KEY: OWNER,
        METRICS_META: f"${{NOMAD_HOST_PORT_{METRICS_PORT}}}",
        "job": spec.name,
        "port": str(spec.port),
        "protocol": spec.protocol,
        SCALING_META: str(spec.scaling.max),
        "url": service_url(spec, platform),
        "version": spec.version,
    }
    if spec.owner:
        meta["owner"] = spec.owner
    return meta


def upstreams(spec: Spec) -> list[dict[str, Any]]:
    """One upstream per dependency, each on its own loopback address.

    Type and protocol are spelled out although they are defaults: where they differ from what Consul merges in, Nomad
    registers the service anew every 30 seconds for ever.
    """
    return [
        {
            "DestinationName": name,
            "DestinationType": "service",
            "LocalBindAddress": address,
            "LocalBindPort": upstream_port(spec, name),
            "Config": {
                "protocol": "tcp" if name in spec.tcp else "http",
                "passive_health_check": PASSIVE_HEALTH_CHECK,
            },
        }
        for name, address in upstream_addresses(spec.uses).items()
    ]


def extra_hosts(spec: Spec, platform: Platform) -> list[str]:
    """Lines of a container's hosts file, "receipt-svc.mesh:127.0.1.1", one per dependency."""
    return [f"{mesh_host(name, platform)}:{address}" for name, address in upstream_addresses(spec.uses).items()]


def sidecar_task(spec: Spec, platform: Platform) -> dict[str, Any]:
    """The sidecar's task settings (Nomad API, ``SidecarTask``).

    Resources, shutdown delay and log limits are always given: naming any setting makes Nomad fill the others with
    the defaults of ordinary tasks instead of those of sidecars.
    """
    sidecar = platform.sidecar
    task: dict[str, Any] = {
        "Driver": sidecar.driver,
        "Resources": {"CPU": sidecar.cpu, "MemoryMB": sidecar.memory},
        "ShutdownDelay": nanoseconds(spec.rollout.drain),
        "KillTimeout": 10 * _SECOND,
        # Access logs stay here until the feed of events has read them.
        "LogConfig": {"MaxFiles": 4, "MaxFileSizeMB": 10},
    }
    if sidecar.driver in _PROCESS_DRIVERS:
        task.update(_process_sidecar(spec, platform))
    else:
        config: dict[str, Any] = {"args": [*_NOMADS_ARGUMENTS, *FLUSH, *arguments(spec, platform)]}
        if sidecar.image:
            config["image"] = sidecar.image
        # One hosts file serves the whole allocation, and whichever container starts first writes it: the sidecar.
        if spec.uses:
            config["extra_hosts"] = extra_hosts(spec, platform)
        task["Config"] = config
    return task


def _process_sidecar(spec: Spec, platform: Platform) -> dict[str, Any]:
    chrooted = platform.sidecar.driver == "exec"
    bootstrap = "/secrets/envoy_bootstrap.json" if chrooted else "${NOMAD_SECRETS_DIR}/envoy_bootstrap.json"
    words = ["-c", bootstrap, "-l", "warning", "--concurrency", "1", "--disable-hot-restart", *FLUSH]
    # Where no user is named, exec's own is nobody, who may bind the dependencies' port 80 like any other (the driver
    # hands it NET_BIND_SERVICE); by default Nomad refuses root there.
    settings: dict[str, Any] = {
        "Config": {"command": platform.sidecar.command, "args": [*words, *arguments(spec, platform)]}
    }
    if chrooted and platform.sidecar.transparent_proxy:
        settings["User"] = _EXEC_ACCOUNT
    if not chrooted:
        # The bootstrap names Consul's socket relative to a chroot that this driver does not make.
        settings["Env"] = {"CONSUL_GRPC_ADDR": "unix://${NOMAD_ALLOC_DIR}/tmp/consul_grpc.sock"}
    return settings


def dynamic_ports(spec: Spec) -> list[dict[str, Any]]:
    """The group's ports beside the sidecar's own: what counts requests, the health check, and each named probe."""
    labels = [HEALTH_PORT] if _asked_for_health(spec) else []
    labels += [probe_port(name) for name in sorted(spec.probes)]
    return [{"Label": METRICS_PORT, "To": METRICS_LISTENER}, *({"Label": label} for label in labels)]


def _asked_for_health(spec: Spec) -> bool:
    return spec.health is not None and spec.health.kind != "command"


def _exposed_paths(spec: Spec) -> list[dict[str, Any]]:
    """One plaintext listener for each path that is asked from outside the mesh; nothing else passes it."""
    asked: list[tuple[str, str, str]] = []
    if spec.health is not None and _asked_for_health(spec):
        grpc = spec.health.kind == "grpc"
        path = "/grpc.health.v1.Health/Check" if grpc else spec.health.path
        asked.append((path, "http2" if grpc else "http", HEALTH_PORT))
    for name, probe in sorted(spec.probes.items()):
        protocol = "http2" if spec.protocol in ("http2", "grpc") else "http"
        asked.append((probe.path.partition("?")[0], protocol, probe_port(name)))
    return [
        {"Path": path, "Protocol": protocol, "LocalPathPort": spec.port, "ListenerPort": label}
        for path, protocol, label in asked
    ]


def _checks(spec: Spec) -> list[dict[str, Any]]:
    """The instance's own check; without one, Nomad's check of the sidecar's listener and the task's life decide."""
    health = spec.health
    if health is None:
        return []
    check: dict[str, Any] = {
        "Name": "health",
        "Interval": nanoseconds(health.interval),
        "Timeout": nanoseconds(health.timeout),
        "OnUpdate": "require_healthy",
    }
    if health.kind == "command":
        check |= {
            "Type": "script",
            "TaskName": TASK,
            "Command": health.command[0],
            "Args": list(health.command[1:]),
        }
    else:
        check |= {"Type": health.kind, "PortLabel": HEALTH_PORT}
        if health.kind == "http":
            check |= {"Path": health.path, "Method": "GET"}
        elif health.service:
            check["GRPCService"] = health.service
    return [check]
