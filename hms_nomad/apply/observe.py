"""Servers -> Observed: what Nomad and Consul hold for a service, read with one call for each kind of object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Deployment
from hms_nomad.plan.diff import OWN_KINDS
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import Observed, ObservedEntry, ObservedJob

_ROUTERS = "service-router"


@dataclass(frozen=True, slots=True)
class Mesh:
    """All config entries of the kinds that we write: one list call a kind, however many services.

    ``entries`` are all of them by kind and name, ``routers`` and ``intentions`` those of these two kinds. ``callees``
    says of each source which destinations' service-intentions name it.
    """

    entries: Mapping[tuple[str, str], ObservedEntry]
    routers: Mapping[tuple[str, str], ObservedEntry]
    intentions: Mapping[str, ObservedEntry]
    callees: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Jobs:
    """What Nomad's lists say of a namespace's jobs: their ids, and the deployments of each, newest first."""

    ids: frozenset[str]
    deployments: Mapping[str, tuple[Deployment, ...]]


def read_mesh(consul: ConsulClient) -> Mesh:
    """Read the mesh's config entries (Consul API, ``GET /v1/config/:kind``)."""
    entries = {
        (entry.kind, entry.name): ObservedEntry(entry.body, entry.modify_index)
        for kind in (*OWN_KINDS, INTENTIONS)
        for entry in consul.list_entries(kind)
    }
    intentions = {name: entry for (kind, name), entry in entries.items() if kind == INTENTIONS}
    callees: dict[str, list[str]] = {}
    for destination, entry in intentions.items():
        for source in {str(source["Name"]) for source in entry.body.get("Sources") or ()}:
            callees.setdefault(source, []).append(destination)
    return Mesh(
        entries={key: entry for key, entry in entries.items() if key[0] != INTENTIONS},
        routers={key: entry for key, entry in entries.items() if key[0] == _ROUTERS},
        intentions=intentions,
        callees={source: tuple(destinations) for source, destinations in callees.items()},
    )


def read_jobs(nomad: NomadClient) -> Jobs:
    """Read the lists of jobs and deployments: two calls, after which each job takes one more, and a new one none."""
    ids = frozenset(job.id for job in nomad.list_jobs())
    found: dict[str, list[Deployment]] = {}
    for deployment in nomad.list_deployments():
        found.setdefault(deployment.job_id, []).append(deployment)
    return Jobs(ids, {job: tuple(deployments) for job, deployments in found.items()})


def observe(nomad: NomadClient, service: str, mesh: Mesh, jobs: Jobs | None = None) -> Observed:
    """What the plan of one service looks at; ``mesh`` and ``jobs`` may be shared by many services of one command."""
    own = {(kind, service): mesh.entries[kind, service] for kind in OWN_KINDS if (kind, service) in mesh.entries}
    return Observed(
        job=_observe_job(nomad, service, jobs),
        entries={**mesh.routers, **own},
        intentions=mesh.intentions,
        callees=mesh.callees.get(service, ()),
    )


def _observe_job(nomad: NomadClient, service: str, jobs: Jobs | None) -> ObservedJob | None:
    job = nomad.read_job(service) if jobs is None or service in jobs.ids else None
    if job is None:
        return None
    deployments = nomad.job_deployments(service) if jobs is None else jobs.deployments.get(service, ())
    own = [found for found in deployments if found.job_version == job.version]
    return ObservedJob(
        body=job.body,
        version=job.version,
        modify_index=job.modify_index,
        stopped=job.stop,
        # Nomad forgets old deployments; a version that outlived its deployment was healthy once.
        settled=not own or own[0].status == "successful",
        under_way=bool(own) and not own[0].done,
    )
