"""``render``: what a spec stands for, as the objects themselves, without asking any server."""

from __future__ import annotations

from typing import Any

from hms_nomad.compile import compile_spec
from hms_nomad.compile.hcl import job_to_hcl
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.platform.model import Platform
from hms_nomad.spec.model import Spec


def render(spec: Spec, platform: Platform) -> dict[str, Any]:
    """One mapping with ``nomad`` (the body of ``PUT /v1/jobs``, accepted by ``nomad job run -json``), ``consul`` (a
    list, each accepted by ``consul config write``), ``vault`` and ``registry``.

    Intentions are shown as on an empty Consul: a caller's right to a service that is not known there yet is not
    narrowed to its routes.
    """
    desired = compile_spec(spec, platform)
    entries = [dict(entry.body) for entry in desired.entries]
    entries += [entry for entry in merged_intentions(desired, {}, {}).values() if entry is not None]
    record = desired.registry
    return {
        "nomad": {"Job": desired.job},
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
    """The job alone as HCL text, accepted by ``nomad job validate``."""
    return job_to_hcl(compile_spec(spec, platform).job)
