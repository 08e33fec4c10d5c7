"""Spec + Platform -> the Nomad job struct, as ``PUT /v1/jobs`` takes it (durations in nanoseconds).

The struct is sent, never text: a value inside HCL text could close its block and add a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.compile.connect import dynamic_ports, group_service
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.files import group_volumes
from hms_nomad.compile.images import NO_PINS, Pins
from hms_nomad.compile.names import GROUP, short_hash
from hms_nomad.compile.placement import placement
from hms_nomad.compile.scaling import scaling_block
from hms_nomad.compile.task import tasks
from hms_nomad.platform.model import Platform
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND


class CompiledJob(Struct, frozen=True):
    """The job with the two identities that are written into it."""

    body: Mapping[str, Any]
    release: str
    digest: str


def compile_job(spec: Spec, platform: Platform, pins: Pins = NO_PINS) -> CompiledJob:
    """The job of a service, with its release and its digest.

    ``release`` ("r" and 10 hex digits) changes exactly when instances must be replaced; it goes into the task's
    meta, which makes sure that Nomad replaces them, and into the service's meta, by which subsets tell releases
    apart. ``digest`` (64 bits) covers the whole job but the count; it goes into the service's meta, because a change
    there alone makes Nomad send the registration to Consul again.
    """
    job = _job(spec, platform, pins)
    merge_escape_hatch(job, spec.nomad)
    group = job["TaskGroups"][0]
    release = "r" + short_hash(_what_replaces_instances(job), 10)
    group["Tasks"][0].setdefault("Meta", {})["release"] = release
    group["Services"][0]["Meta"]["release"] = release
    digest = short_hash(_without_counts(job), 16)
    group["Services"][0]["Meta"]["digest"] = digest
    return CompiledJob(body=job, release=release, digest=digest)


def with_count(job: Mapping[str, Any], count: int, canaries: int) -> dict[str, Any]:
    """The same job for ``count`` instances and ``canaries`` new ones beside them during a rollout."""
    group = dict(job["TaskGroups"][0])
    group["Count"] = count
    group["Update"] = {**group["Update"], "Canary": canaries}
    return {**job, "TaskGroups": [group, *job["TaskGroups"][1:]]}


def _job(spec: Spec, platform: Platform, pins: Pins) -> dict[str, Any]:
    job: dict[str, Any] = {
        "ID": spec.name,
        "Name": spec.name,
        "Type": "service",
        "Namespace": platform.namespace,
        "Region": platform.region,
        **placement(spec, platform),
        "Meta": {OWNER_KEY: OWNER},
        "TaskGroups": [_group(spec, platform, pins)],
    }
    if interface := operators_interface(spec):
        job["UI"] = interface
    return job


def operators_interface(spec: Spec) -> dict[str, Any]:
    """What operators read in the Nomad UI (Nomad API, ``UI``)."""
    lines = [line for line in (spec.description, spec.owner and f"Owner: {spec.owner}") if line]
    interface: dict[str, Any] = {}
    if lines:
        interface["Description"] = "\n\n".join(lines)
    if spec.links:
        interface["Links"] = [{"Label": label, "Url": url} for label, url in spec.links.items()]
    return interface


def own_network(platform: Platform) -> dict[str, Any]:
    """The network of an instance (Nomad API, ``Networks``), with the name servers that the platform may have."""
    network: dict[str, Any] = {"Mode": "bridge"}
    if dns := platform.dns:
        servers = list(dns.servers)
        network["DNS"] = {"Servers": servers, "Searches": list(dns.searches), "Options": list(dns.options)}
    return network


def _group(spec: Spec, platform: Platform, pins: Pins) -> dict[str, Any]:
    group = {
        "Name": GROUP,
        "Count": spec.scaling.min,
        "ShutdownDelay": nanoseconds(spec.rollout.drain),
        "Networks": [{**own_network(platform), "DynamicPorts": dynamic_ports(spec)}],
        "Update": _update(spec),
        "RestartPolicy": {"Attempts": 3, "Interval": 5 * _MINUTE, "Delay": _SECOND, "Mode": "fail"},
        "ReschedulePolicy": {
            "Attempts": 0,
            "Interval": 0,
            "Unlimited": True,
            "Delay": 5 * _SECOND,
            "DelayFunction": "exponential",
            "MaxDelay": 2 * _MINUTE,
        },
        "Scaling": scaling_block(spec),
        "Services": [group_service(spec, platform)],
        "Tasks": tasks(spec, platform, pins),
    }
    if volumes := group_volumes(spec):
        group["Volumes"] = volumes
    return group


def _update(spec: Spec) -> dict[str, Any]:
    rollout = spec.rollout
    deadline = nanoseconds(rollout.deadline)
    return {
        "MaxParallel": 1,
        "HealthCheck": "checks",
        "MinHealthyTime": nanoseconds(rollout.min_healthy),
        "HealthyDeadline": deadline,
        "ProgressDeadline": deadline + _MINUTE,
        "AutoRevert": True,
        "AutoPromote": False,
        # New instances always stand beside the old ones: no rollout runs on less than it had before.
        "Canary": spec.scaling.min,
    }


def _what_replaces_instances(job: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a job whose change makes Nomad replace instances; everything else is updated in place."""
    group = job["TaskGroups"][0]
    service = group["Services"][0]
    proxy = service["Connect"]["SidecarService"]["Proxy"]
    # A network namespace is made once; where there is nothing of the kind, ids stay what they were.
    transparent = {key: proxy[key] for key in ("TransparentProxy",) if key in proxy}
    return {
        **transparent,
        "Meta": job["Meta"],
        "Networks": group["Networks"],
        # Operators' actions change in place, like the job's constraints and spreads.
        "Tasks": [{key: value for key, value in task.items() if key != "Actions"} for task in group["Tasks"]],
        "Volumes": group.get("Volumes"),
        "GroupMeta": group.get("Meta"),
        "PortLabel": service["PortLabel"],
        "SidecarTask": service["Connect"]["SidecarTask"],
        # A sidecar reads these when it starts, and never again.
        "Bootstrap": {key: value for key, value in proxy["Config"].items() if key.startswith("envoy_")},
    }


def _without_counts(job: Mapping[str, Any]) -> dict[str, Any]:
    return with_count(job, 0, 0)


def merge_escape_hatch(job: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Lay the spec's ``nomad`` section over the job: keys job, group and task, in the API's own field names."""
    group = job["TaskGroups"][0]
    _merge(group["Tasks"][0], extra.get("task", {}))
    _merge(group, extra.get("group", {}))
    _merge(job, extra.get("job", {}))


def _merge(target: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value
