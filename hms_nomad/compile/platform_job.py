"""Platform -> its own jobs: each as the body that Nomad takes, with what belongs to it and a digest of it all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from hms_nomad.compile.desired import ConfigEntry
from hms_nomad.compile.gateway import filled
from hms_nomad.compile.names import short_hash
from hms_nomad.platform.model import Autoscaler, Platform, PlatformError, Runnable, Telemetry

TELEMETRY_FILES = (
    "bounds.yml",
    "consul.yml",
    "nomad.yml",
    "platform.yml",
    "prometheus.yml",
    "rules.yml",
    "sidecars.yml",
)
"""The files of Prometheus' configuration, as they ship in ``jobspecs/telemetry``."""

_TOLD = frozenset({"bounds.yml", "prometheus.yml", "rules.yml"})
_SECRETS = '<<< env "NOMAD_SECRETS_DIR" >>>'


class CompiledPlatformJob(Struct, frozen=True):
    """A job of the platform, named after its service; ``digest`` changes with anything but the count.

    ``entry`` is the config entry that it needs, None for jobs outside the mesh; ``beside`` are further ones, of which
    the first is written before ``entry`` and the others after it.
    """

    name: str
    job: Mapping[str, Any]
    digest: str
    entry: ConfigEntry | None = None
    beside: tuple[ConfigEntry, ...] = ()

    @property
    def entries(self) -> tuple[ConfigEntry, ...]:
        """All config entries that it needs, in the order in which Consul takes them."""
        own = () if self.entry is None else (self.entry,)
        return (*self.beside[:1], *own, *self.beside[1:])

    @property
    def instances(self) -> int:
        """How many instances shall run."""
        return int(self.job["TaskGroups"][0]["Count"])


def compile_autoscaler(
    job: Mapping[str, Any], settings: str, guard: str, platform: Platform, autoscaler: Autoscaler
) -> CompiledPlatformJob:
    """The autoscaler's job, from the shipped ``job``, its ``settings`` (HCL) and the shell script that guards it."""
    namespaces = list(autoscaler.namespaces or (platform.namespace,))
    values: dict[str, Any] = {
        **common_values(platform, autoscaler),
        "instances": autoscaler.instances,
        "elected": json.dumps(autoscaler.instances > 1),
        "namespaces": json.dumps(namespaces),
        "telemetry": platform.telemetry.name if platform.telemetry else "",
        "guard": guard,
        "consul_block": consul_block(autoscaler.consul_token),
        **driver_values(platform, autoscaler, ["agent", "-config", "${NOMAD_TASK_DIR}/autoscaler.hcl"], "guard.sh"),
    }
    values["settings"] = filled(settings, values)
    return finished(filled(job, values))


def compile_telemetry(
    job: Mapping[str, Any], files: Mapping[str, str], platform: Platform, telemetry: Telemetry
) -> CompiledPlatformJob:
    """Prometheus' job, from the shipped ``job`` and its ``files`` by name, each a template that Nomad fills in.

    Raises PlatformError when the address of Consul is no URL.
    """
    consul = urlsplit(telemetry.consul or platform.consul.address)
    if not consul.hostname:
        raise PlatformError(f"{consul.geturl()} is no URL; name Consul's in telemetry.consul")
    tls = {"ca_file": telemetry.ca_file} if telemetry.ca_file else {}
    token = f"{{credentials_file: {_SECRETS}/consul_token}}" if telemetry.consul_token else "{}"
    words = {
        "every": telemetry.every,
        "window": _window(telemetry.every),
        "nomad_scheme": urlsplit(platform.nomad.address).scheme or "http",
        "consul_scheme": consul.scheme,
        "consul_port": consul.port or (443 if consul.scheme == "https" else 80),
        "consul_authorization": token,
        "tls": json.dumps(tls),
        "runbooks": telemetry.runbooks,
        "autoscaler": platform.autoscaler.name if platform.autoscaler else "",
    }
    arguments = [
        "--config.file=${NOMAD_TASK_DIR}/prometheus.yml",
        "--storage.tsdb.path=${NOMAD_ALLOC_DIR}/data/prometheus",
        f"--storage.tsdb.retention.time={telemetry.retention}",
        f"--storage.tsdb.retention.size={max(64, telemetry.disk * 3 // 4)}MB",
        "--web.listen-address=${NOMAD_ADDR_http}",
    ]
    values = {
        **common_values(platform, telemetry),
        "instances": telemetry.instances,
        "disk": telemetry.disk,
        "consul_block": consul_block(telemetry.consul_token),
        "templates": [_template(name, filled(text, words)) for name, text in sorted(files.items())],
        **driver_values(platform, telemetry, arguments),
    }
    return finished(filled(job, values))


def _template(name: str, text: str) -> dict[str, Any]:
    """A file of Prometheus' configuration. Files of targets it watches by itself, of the others it has to be told."""
    template = {"EmbeddedTmpl": text, "DestPath": f"local/{name}", "LeftDelim": "<<<", "RightDelim": ">>>"}
    if name in _TOLD:
        return {**template, "ChangeMode": "signal", "ChangeSignal": "SIGHUP"}
    return {**template, "ChangeMode": "noop"}


def _window(every: str) -> str:
    """The time over which rates are taken: four measurements, so that one may be lost."""
    return f"{4 * int(every[:-1])}{every[-1]}"


def common_values(platform: Platform, program: Runnable) -> dict[str, Any]:
    """What every job of the platform is told: its name, where it runs and what it reserves."""
    return {
        "name": program.name,
        "namespace": platform.namespace,
        "region": platform.region,
        "datacenters": list(platform.datacenters),
        "node_pool": program.node_pool or platform.node_pool,
        "cpu": program.cpu,
        "memory": program.memory,
    }


def driver_values(platform: Platform, program: Runnable, arguments: list[str], script: str = "") -> dict[str, Any]:
    """How a program runs: in its image where one is named, else as a process of the node; in the node's network.

    ``script`` is a shell script in the task's directory that gets the program and its arguments.
    """
    words = [*([f"${{NOMAD_TASK_DIR}}/{script}"] if script else []), program.command, *arguments]
    if program.image:
        config: dict[str, Any] = {"image": program.image, "network_mode": "host"}
        config |= {"entrypoint": ["/bin/sh"], "args": words} if script else {"entrypoint": words[:1], "args": words[1:]}
        return {"driver": "docker", "driver_config": config}
    command, rest = ("/bin/sh", words) if script else (words[0], words[1:])
    return {"driver": program.driver or platform.command_driver, "driver_config": {"command": command, "args": rest}}


def consul_block(token: bool) -> dict[str, str] | None:
    """The block with which Nomad gets a token of Consul for the job's identity, where one is needed."""
    return {"Cluster": "default"} if token else None


def finished(body: dict[str, Any]) -> CompiledPlatformJob:
    """A filled-in job with its digest, which is written into the service's meta."""
    group = body["TaskGroups"][0]
    digest = short_hash({**body, "TaskGroups": [{**group, "Count": 0}]}, 16)
    group["Services"][0]["Meta"]["digest"] = digest
    return CompiledPlatformJob(name=body["ID"], job=body, digest=digest)
