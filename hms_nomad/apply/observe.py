"""Servers -> Observed: what Nomad and Consul hold for a service, read with one call for each kind of object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.plan.diff import OWN_KINDS
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import Observed, ObservedEntry, ObservedJob


@dataclass(frozen=True, slots=True)
class Mesh:
    """All config entries of the kinds that we write, by kind and name: one list call a kind, however many services."""

    entries: Mapping[tuple[str, str], ObservedEntry]


def read_mesh(consul: ConsulClient) -> Mesh:
    """Read the mesh's config entries (Consul API, ``GET /v1/config/:kind``)."""
    return Mesh(
        {
            (entry.kind, entry.name): ObservedEntry(entry.body, entry.modify_index)
            for kind in (*OWN_KINDS, INTENTIONS)
            for entry in consul.list_entries(kind)
        }
    )


def observe(nomad: NomadClient, service: str, mesh: Mesh) -> Observed:
    """What the plan of one service looks at; ``mesh`` may be shared by many services of one command."""
    return Observed(
        job=_observe_job(nomad, service),
        entries={
            key: entry
            for key, entry in mesh.entries.items()
            if key[0] != INTENTIONS and (key[1] == service or key[0] == "service-router")
        },
        intentions={name: entry for (kind, name), entry in mesh.entries.items() if kind == INTENTIONS},
    )


def _observe_job(nomad: NomadClient, service: str) -> ObservedJob | None:
    job = nomad.read_job(service)
    if job is None:
        return None
    own = [found for found in nomad.job_deployments(service) if found.job_version == job.version]
    return ObservedJob(
        body=job.body,
        version=job.version,
        modify_index=job.modify_index,
        stopped=job.stop,
        # Nomad forgets old deployments; a version that outlived its deployment was healthy once.
        settled=not own or own[0].status == "successful",
    )
