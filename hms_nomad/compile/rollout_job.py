"""Platform -> the job whose instances drive rollouts, one each, as the body that Nomad takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.compile.gateway import filled
from hms_nomad.compile.names import short_hash
from hms_nomad.compile.own_program import own_values
from hms_nomad.compile.platform_job import CompiledPlatformJob, common_values, driver_values
from hms_nomad.platform.model import Platform, Rollouts

DIGEST_KEY = "digest"
SERVICE_META = "service"
"""Which service's rollout an instance drives, in the meta of its dispatch."""

ROLLOUT_META = "rollout"
"""Which rollout of it, by its number; 0 asks for whichever is under way."""


def compile_rollouts(job: Mapping[str, Any], platform: Platform, rollouts: Rollouts) -> CompiledPlatformJob:
    """The job from the shipped ``job``; its digest stands in its own meta, because it has no service.

    It gets the platform's context, with the servers as nodes reach them, and no token: Nomad gives it those of its own
    identity.
    """
    arguments = ["drive", f"${{NOMAD_META_{SERVICE_META}}}", "--rollout", f"${{NOMAD_META_{ROLLOUT_META}}}"]
    values = {
        **common_values(platform, rollouts),
        **driver_values(platform, rollouts, arguments),
        **own_values(platform, rollouts, rollouts.nomad),
    }
    compiled = filled(job, values)
    digest = short_hash(compiled, 16)
    compiled["Meta"][DIGEST_KEY] = digest
    return CompiledPlatformJob(name=compiled["ID"], job=compiled, digest=digest)
