"""Platform -> the job that answers what the registry knows by HTTP, as the body that Nomad takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.compile.gateway import filled
from hms_nomad.compile.own_program import own_values
from hms_nomad.compile.platform_job import CompiledPlatformJob, common_values, driver_values, finished
from hms_nomad.platform.model import Platform, RegistryEndpoint


def compile_registry(job: Mapping[str, Any], platform: Platform, registry: RegistryEndpoint) -> CompiledPlatformJob:
    """The job from the shipped ``job``: this very program on the node's own network, one instance a node."""
    arguments = ["registry", "serve", "--listen", "${NOMAD_ADDR_http}"]
    values = {
        **common_values(platform, registry),
        "instances": registry.instances,
        **driver_values(platform, registry, arguments),
        **own_values(platform, registry),
        "port": registry.port,
    }
    return finished(filled(job, values))
