"""An instance's task -> the container that the engine is asked to make. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.canonical import PROXY_PREFIX
from hms_nomad.dev.agent.drivers import DriverError, known_settings
from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.values import Json
from hms_nomad.dev.engine import ALLOCATION_LABEL

_MIB = 1024 * 1024
# Of the container's own settings these are taken over as they are: the name in a job, and the engine's.
_OWN = {"hostname": "Hostname", "entrypoint": "Entrypoint", "work_dir": "WorkingDir"}
_HOSTS = {
    "init": "Init",
    "extra_hosts": "ExtraHosts",
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "readonly_rootfs": "ReadonlyRootfs",
    "security_opt": "SecurityOpt",
    "shm_size": "ShmSize",
    "group_add": "GroupAdd",
    "dns_servers": "Dns",
}
_SETTINGS = {*_OWN, *_HOSTS, "image", "command", "args", "ports", "volumes", "network_mode", "force_pull"}
_SETTINGS |= {"image_pull_timeout"}


def definition(environment: TaskEnvironment) -> Json:
    """The body of the engine's call that makes the task's container. Raises DriverError."""
    task = environment.task
    config: Json = environment.fill_all(task["Config"] or {})
    known_settings(config, _SETTINGS)
    if not config.get("image"):
        whose = "; a sidecar's is sidecar.image in the context" if (task["Kind"] or "").startswith(PROXY_PREFIX) else ""
        raise DriverError(f"image name required for docker driver{whose}")
    body: Json = {
        "Image": config["image"],
        "Env": [f"{name}={value}" for name, value in environment.variables(whole=False).items()],
        "Labels": {
            ALLOCATION_LABEL: environment.alloc["ID"],
            "com.hashicorp.nomad.job_name": environment.alloc["Job"]["Name"],
            "com.hashicorp.nomad.task_name": task["Name"],
        },
        **{theirs: config[ours] for ours, theirs in _OWN.items() if config.get(ours)},
        "HostConfig": {
            **{theirs: config[ours] for ours, theirs in _HOSTS.items() if config.get(ours)},
            "Binds": _binds(environment, config),
            **_limits(task["Resources"]),
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        },
    }
    words = [str(one) for one in ([config["command"]] if config.get("command") else []) + (config.get("args") or [])]
    if words:
        body["Cmd"] = words
    if task["User"]:
        body["User"] = task["User"]
    return _with_network(body, environment, config)


def _limits(resources: Json) -> Json:
    """What the engine holds a container to. Memory above the reservation is taken where there is some to spare."""
    reserved, most = int(resources["MemoryMB"]), int(resources["MemoryMaxMB"] or 0)
    limits: Json = {"Memory": max(reserved, most) * _MIB, "CpuShares": int(resources["CPU"])}
    return {**limits, "MemoryReservation": reserved * _MIB} if most > reserved else limits


def _binds(environment: TaskEnvironment, config: Json) -> list[str]:
    """The directories of the instance, at the places that Nomad gives them, and those that the job names."""
    own = environment.directories.task(environment.task["Name"])
    binds = [f"{environment.directories.shared}:/alloc", f"{own / 'local'}:/local", f"{own / 'secrets'}:/secrets"]
    for volume in config.get("volumes") or ():
        source, colon, rest = str(volume).partition(":")
        # A relative one lies in the task's directory, as with Nomad.
        binds.append(f"{source if Path(source).is_absolute() else (own / source).resolve()}{colon}{rest}")
    return binds


def _with_network(body: Json, environment: TaskEnvironment, config: Json) -> Json:
    """In the network of the machine, where its sidecar is, or with the ports that the job wants published."""
    if emulation.in_bridge(environment.group):
        return {**body, "HostConfig": {**body["HostConfig"], "NetworkMode": "host"}}
    mode = config.get("network_mode") or "default"
    host = {**body["HostConfig"], "NetworkMode": mode}
    if mode == "host":
        return {**body, "HostConfig": host}
    exposed: Json = {}
    bindings: dict[str, list[Any]] = {}
    wanted = set(config.get("ports") or ())
    for port in environment.alloc["AllocatedResources"]["Shared"]["Ports"] or ():
        if port["Label"] in wanted:
            inside = f"{port['To']}/tcp"
            exposed[inside] = {}
            bindings.setdefault(inside, []).append({"HostIp": port["HostIP"], "HostPort": str(port["Value"])})
    return {**body, "ExposedPorts": exposed, "HostConfig": {**host, "PortBindings": bindings}}
