"""Spec -> the tasks of its group: the service itself, and the helpers beside it."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile.connect import extra_hosts
from hms_nomad.compile.files import artifacts, bind_mounts, hosts_file, templates, volume_mounts
from hms_nomad.compile.images import NO_PINS, Pins, own_image
from hms_nomad.compile.names import TASK, mesh_host, upstream_addresses, upstream_url, url_variable
from hms_nomad.compile.placement import actions
from hms_nomad.compile.secrets import needs_vault, secret_templates, vault_fields
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_task import SideTask
from hms_nomad.spec.runnable import Runnable

_SECOND = 1_000_000_000
_HOOKS = {
    "prestart": {"Hook": "prestart", "Sidecar": False},
    "sidecar": {"Hook": "prestart", "Sidecar": True},
    "poststop": {"Hook": "poststop", "Sidecar": False},
}


def tasks(spec: Spec, platform: Platform, pins: Pins = NO_PINS) -> list[dict[str, Any]]:
    """The group's tasks, the service's own first (Nomad API, job JSON, ``Tasks``). Raises PlatformError."""
    own = _task(TASK, spec, spec, platform, pins)
    if spec.actions:
        own["Actions"] = actions(spec)
    helpers = [
        {**_task(name, task, spec, platform, pins), "Lifecycle": dict(_HOOKS[task.hook])}
        for name, task in sorted(spec.tasks.items())
    ]
    return [own, *helpers]


def _task(name: str, task: Runnable, spec: Spec, platform: Platform, pins: Pins) -> dict[str, Any]:
    driver = _driver(task, spec, platform)
    resources: dict[str, Any] = {"CPU": task.resources.cpu, "MemoryMB": task.resources.memory}
    if task.resources.memory_max is not None:
        resources["MemoryMaxMB"] = task.resources.memory_max
    fields: dict[str, Any] = {
        "Name": name,
        "Driver": driver,
        "Config": _container(task, spec, platform, pins) if task.image else _process(task),
        "Env": _environment(task, spec, platform),
        "Resources": resources,
        "KillTimeout": 30 * _SECOND,
        "LogConfig": {"MaxFiles": 5, "MaxFileSizeMB": 10},
    }
    if task.user:
        fields["User"] = task.user
    rendered = templates(task)
    rendered += secret_templates(task, spec, platform, driver)
    if needs_vault(task):
        fields |= vault_fields(spec, platform)
    if driver == "exec" and spec.uses:
        rendered.append(hosts_file(spec, platform))
    mounts = volume_mounts(spec, task)
    if mounts and driver == "raw_exec":
        raise PlatformError(
            f"{name} runs under raw_exec on this platform, where no volume can be mounted; write driver: exec"
        )
    for key, value in (("Templates", rendered), ("Artifacts", artifacts(task)), ("VolumeMounts", mounts)):
        if value:
            fields[key] = value
    return fields


def _driver(task: Runnable, spec: Spec, platform: Platform) -> str:
    """A helper that names no driver runs like the service, where both are processes."""
    if task.driver is not None:
        return task.driver
    if task.image:
        return "docker"
    inherited = spec.driver if isinstance(task, SideTask) and not spec.image else None
    return inherited or platform.command_driver


def _container(task: Runnable, spec: Spec, platform: Platform, pins: Pins) -> dict[str, Any]:
    # The engine's own init passes signals on: a service that is process 1 would never see the request to stop.
    image = own_image(task, platform) if isinstance(task, Spec) else task.image
    config: dict[str, Any] = {"image": pins.get(image or "", image), "init": True}
    if task.args:
        config["args"] = list(task.args)
    if spec.uses:
        config["extra_hosts"] = extra_hosts(spec, platform)
    if binds := bind_mounts(spec, task, platform):
        config["volumes"] = binds
    return config


def _process(task: Runnable) -> dict[str, Any]:
    return {"command": task.command[0], "args": [*task.command[1:], *task.args]}


def _environment(task: Runnable, spec: Spec, platform: Platform) -> dict[str, str]:
    """PORT, one URL per dependency, then what the spec says, which wins.

    Tasks without a container may have no hosts file of their own: their URLs carry the loopback address itself.
    """
    environment = {"PORT": str(spec.port)}
    for name, address in upstream_addresses(spec.uses).items():
        host = mesh_host(name, platform) if task.image else address
        environment[url_variable(name)] = upstream_url(spec, name, host)
    return environment | dict(task.env)
