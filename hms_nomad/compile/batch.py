"""A spec of ``kind: job`` + Platform -> Nomad's batch job, periodic where it has a schedule.

It has no routes and no rules of its own in the mesh; where it calls services, it gets a sidecar while it runs.
"""

from __future__ import annotations

from typing import Any

from hms_nomad.compile.connect import sidecar_task, upstreams
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.files import group_volumes
from hms_nomad.compile.images import NO_PINS, Pins
from hms_nomad.compile.job import CompiledJob, merge_escape_hatch, operators_interface, own_network
from hms_nomad.compile.names import GROUP, short_hash
from hms_nomad.compile.placement import placement
from hms_nomad.compile.task import tasks
from hms_nomad.platform.model import Platform
from hms_nomad.spec.duration import nanoseconds
from hms_nomad.spec.model import Spec

_DAY = 24 * 3600 * 1_000_000_000

KIND_KEY = "kind"
"""Key in the job's meta that tells a job from a service."""

# Nobody calls a job; Nomad wants a port to stand where the sidecar of a service would find it.
_NO_PORT = "1"


def compile_batch(spec: Spec, platform: Platform, pins: Pins = NO_PINS) -> CompiledJob:
    """The job, with its release and digest in its own meta: it has no service that could carry them.

    A change of any of it makes Nomad run a job without a schedule once more.
    """
    job = _job(spec, platform, pins)
    merge_escape_hatch(job, spec.nomad)
    release = "r" + short_hash(job, 10)
    job["Meta"] = {**job["Meta"], "release": release}
    digest = short_hash(job, 16)
    job["Meta"] = {**job["Meta"], "digest": digest}
    return CompiledJob(body=job, release=release, digest=digest)


def _job(spec: Spec, platform: Platform, pins: Pins) -> dict[str, Any]:
    meta = {OWNER_KEY: OWNER, KIND_KEY: "job", "version": spec.version}
    job: dict[str, Any] = {
        "ID": spec.name,
        "Name": spec.name,
        "Type": "batch",
        "Namespace": platform.namespace,
        "Region": platform.region,
        **placement(spec, platform),
        "Meta": {**meta, "owner": spec.owner} if spec.owner else meta,
        "TaskGroups": [_group(spec, platform, pins)],
    }
    if spec.schedule is not None:
        job["Periodic"] = {
            "Enabled": True,
            "Specs": [spec.schedule.cron],
            "ProhibitOverlap": not spec.schedule.overlap,
            "TimeZone": spec.schedule.timezone,
        }
    if interface := operators_interface(spec):
        job["UI"] = interface
    return job


def _group(spec: Spec, platform: Platform, pins: Pins) -> dict[str, Any]:
    delay = nanoseconds(spec.attempts.delay)
    group: dict[str, Any] = {
        "Name": GROUP,
        "Count": 1,
        "Networks": [own_network(platform)],
        # All attempts of one run fall into the interval: after the last one the run has failed.
        "RestartPolicy": {
            "Attempts": spec.attempts.most - 1,
            "Interval": _DAY + spec.attempts.most * delay,
            "Delay": delay,
            "Mode": "fail",
        },
        "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        "Tasks": tasks(spec, platform, pins),
    }
    if spec.uses:
        group["Services"] = [_caller(spec, platform)]
    if volumes := group_volumes(spec):
        group["Volumes"] = volumes
    return group


def _caller(spec: Spec, platform: Platform) -> dict[str, Any]:
    """The identity under which the job calls others: a service of its name while it runs, which nobody may call."""
    sidecar = {**sidecar_task(spec, platform), "ShutdownDelay": 0}
    return {
        "Name": spec.name,
        "PortLabel": _NO_PORT,
        "Provider": "consul",
        "Meta": {OWNER_KEY: OWNER, KIND_KEY: "job", "version": spec.version},
        "Connect": {
            "SidecarService": {"Proxy": {"Upstreams": upstreams(spec)}, "DisableDefaultTCPCheck": True},
            "SidecarTask": sidecar,
        },
    }
