"""Spec + Platform -> Desired: pure, so the same input gives the same bytes."""

from __future__ import annotations

from hms_nomad.compile.batch import compile_batch
from hms_nomad.compile.desired import Desired, RegistryRecord
from hms_nomad.compile.entries import config_entries, intentions
from hms_nomad.compile.external import compile_external
from hms_nomad.compile.gateway import gateway_canary, gateway_intention, gateway_routes, gateway_splitter
from hms_nomad.compile.images import NO_PINS, Pins, images_of
from hms_nomad.compile.job import compile_job
from hms_nomad.compile.names import service_url
from hms_nomad.compile.routes import permissions_of_router
from hms_nomad.compile.secrets import vault_objects
from hms_nomad.platform.model import Platform
from hms_nomad.sections.section import as_data
from hms_nomad.spec.model import Spec


def compile_spec(spec: Spec, platform: Platform, pins: Pins = NO_PINS) -> Desired:
    """Everything that a spec stands for on a platform (chapter 12, sections 3.2 and 4.1).

    ``pins`` are what tags were resolved to; an image without one goes into the job as it is named.
    """
    if spec.kind == "job":
        return _job(spec, platform, pins)
    if spec.kind == "external":
        return compile_external(spec, platform)
    job = compile_job(spec, platform, pins)
    entries = config_entries(spec, platform, job.release)
    router = next((entry for entry in entries if entry.kind == "service-router"), None)
    behind = (
        gateway_splitter(spec, platform, job.release),
        *gateway_canary(spec, platform),
        *gateway_routes(spec, platform, router),
    )
    way_in = gateway_intention(spec, platform)
    return Desired(
        service=spec.name,
        namespace=platform.namespace,
        release=job.release,
        digest=job.digest,
        job=job.body,
        entries=(*entries, *(entry for entry in behind if entry is not None)),
        intentions=(*intentions(spec, platform), way_in) if way_in else intentions(spec, platform),
        permissions=permissions_of_router(router.body if router else None),
        vault=vault_objects(spec, platform),
        registry=RegistryRecord(
            name=spec.name,
            version=spec.version,
            release=job.release,
            url=service_url(spec, platform),
            port=spec.port,
            protocol=spec.protocol,
            routes=tuple(as_data(route, nothing=False) for route in spec.routes),
        ),
        images=_pinned(spec, platform, pins),
    )


def _job(spec: Spec, platform: Platform, pins: Pins) -> Desired:
    """A job has no rules of its own in the mesh, but the right to call the services that it uses."""
    job = compile_batch(spec, platform, pins)
    return Desired(
        service=spec.name,
        namespace=platform.namespace,
        release=job.release,
        digest=job.digest,
        job=job.body,
        entries=(),
        intentions=tuple(one for one in intentions(spec, platform) if one.source == spec.name),
        permissions=(),
        vault=vault_objects(spec, platform),
        registry=RegistryRecord(spec.name, spec.version, job.release, "", 0, "", ()),
        images=_pinned(spec, platform, pins),
    )


def _pinned(spec: Spec, platform: Platform, pins: Pins) -> dict[str, str]:
    return {image: pins[image] for image in images_of(spec, platform) if image in pins}
