"""``render``: what a spec stands for, as the objects themselves, without asking any server."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.hcl import job_to_hcl
from hms_nomad.compile.proxy_job import EGRESS_KIND
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.spec.model import Spec


def render(spec: Spec, platform: Platform) -> dict[str, Any]:
    """One mapping with ``nomad`` (the body of ``PUT /v1/jobs``, accepted by ``nomad job run -json``), ``consul`` (a
    list, each accepted by ``consul config write``), ``vault`` and ``registry``.

    Intentions are shown as on an empty Consul: a caller's right to a service that is not known there yet is not
    narrowed to its routes. An external service has no job, and its part of the egress's entry stands alone.

    Raises PlatformError for what the platform cannot run.
    """
    desired = compile_spec(spec, platform)
    entries = [dict(entry.body) for entry in desired.entries]
    entries += [entry for entry in merged_intentions(desired, {}, {}).values() if entry is not None]
    record = desired.registry
    if desired.outside is not None:
        link = {"Kind": EGRESS_KIND, "Name": desired.outside.egress, "Meta": {OWNER_KEY: OWNER}}
        entries.append({**link, "Services": [dict(desired.outside.link)]})
    return {
        "nomad": {"Job": desired.job} if desired.job else {},
        "consul": entries,
        "vault": list(desired.vault),
        "registry": {
            "name": record.name,
            "version": record.version,
            "release": record.release,
            "url": record.url,
            "port": record.port,
            "protocol": record.protocol,
            "routes": list(record.routes),
        },
    }


def render_hcl(spec: Spec, platform: Platform) -> str:
    """The job alone as HCL text, accepted by ``nomad job validate``. Raises PlatformError for what has no job."""
    desired = compile_spec(spec, platform)
    if not desired.job:
        raise PlatformError(f"{spec.name} runs elsewhere, so there is no job to write; use --format json")
    return job_to_hcl(desired.job)
