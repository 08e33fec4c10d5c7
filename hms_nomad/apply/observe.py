"""Servers -> Observed: what Nomad and Consul hold for a service, read with one call for each kind of object."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from msgspec import Struct

from hms_nomad.apply.registered import Registered, read_registered
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import StoredEntry
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Deployment
from hms_nomad.compile.desired import Desired
from hms_nomad.compile.http_routes import ROUTE_KIND, routes_by_owner
from hms_nomad.compile.job import with_count
from hms_nomad.plan.diff import OWN_KINDS, own_keys
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import Observed, ObservedEntry, ObservedJob

_ROUTERS = "service-router"
_KINDS = (*OWN_KINDS, INTENTIONS)
_ALONE = ("service-defaults", "service-resolver", "service-splitter")
_AT_ONCE = 9


class Mesh(Struct, frozen=True):
    """All config entries of the kinds that we write: one list call a kind, however many services.

    ``entries`` are all of them by kind and name, ``routers`` and ``intentions`` those of these two kinds. ``callees``
    says of each source which destinations' service-intentions name it, ``routes`` of each service which http-routes are
    its own.
    """

    entries: Mapping[tuple[str, str], ObservedEntry]
    routers: dict[tuple[str, str], ObservedEntry]
    intentions: Mapping[str, ObservedEntry]
    callees: Mapping[str, tuple[str, ...]]
    routes: Mapping[str, tuple[str, ...]]


class Jobs(Struct, frozen=True):
    """What is known of a namespace's jobs without reading any: the JobModifyIndex of each by id, the deployments of
    each, newest first, and our own last registration of each.
    """

    indexes: Mapping[str, int]
    deployments: Mapping[str, tuple[Deployment, ...]]
    registered: Mapping[str, Registered]


def read_mesh(consul: ConsulClient) -> Mesh:
    """Read the mesh's config entries (Consul API, ``GET /v1/config/:kind``), all kinds at once."""
    return _mesh(at_once(partial(consul.list_entries, kind) for kind in _KINDS))


def read_mesh_around(consul: ConsulClient, service: str) -> Mesh:
    """The same as far as the plan of one service looks at it: of the kinds that need no others, just its own entries.

    So the deploy of a fleet does not read all of the mesh anew for each of its services.
    """
    alone = [partial(consul.read_entry, *key) for key in own_keys(service) if key[0] in _ALONE]
    others = [partial(consul.list_entries, kind) for kind in _KINDS if kind not in _ALONE]
    found = at_once([*alone, *others])
    return _mesh([[entry for entry in found[: len(alone)] if entry is not None], *found[len(alone) :]])


def read_all(nomad: NomadClient, consul: ConsulClient, namespace: str) -> tuple[Mesh, Jobs]:
    """Read the mesh's config entries and what the lists say of all jobs: nine calls at once, however many services."""
    listings: list[tuple[StoredEntry, ...]]
    entries = [partial(consul.list_entries, kind) for kind in _KINDS]
    *listings, jobs, deployments, registered = at_once(
        [*entries, nomad.list_jobs, nomad.list_deployments, partial(read_registered, consul, namespace)]
    )
    found: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        found.setdefault(deployment.job_id, []).append(deployment)
    indexes = {job.id: job.modify_index for job in jobs}
    return _mesh(listings), Jobs(indexes, {job: tuple(rows) for job, rows in found.items()}, registered)


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """The answers of calls that do not depend on each other, in their order; the first error of them is raised."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(lambda call: call(), calls))


def observe(nomad: NomadClient, service: str, mesh: Mesh, jobs: Jobs | None = None) -> Observed:
    """What the plan of one service looks at; ``mesh`` and ``jobs`` may be shared by many services of one command."""
    return _observed(service, mesh, _observe_job(nomad, service, jobs))


def observe_alone(nomad: NomadClient, consul: ConsulClient, service: str) -> Observed:
    """The same for one service, read from both servers at once."""
    mesh, job = at_once([partial(read_mesh_around, consul, service), partial(_observe_job, nomad, service, None)])
    return _observed(service, mesh, job)


def observe_entries(consul: ConsulClient, service: str) -> Observed:
    """The same for one service without a job."""
    return _observed(service, read_mesh_around(consul, service), None)


def known(desired: Desired, mesh: Mesh, jobs: Jobs) -> Observed | None:
    """The same without asking a server; None where the job has to be read.

    It has not where it does not exist, and where it still is what we registered, which is what is desired now.
    """
    index = jobs.indexes.get(desired.service)
    if index is None:
        return _observed(desired.service, mesh, None)
    noted = jobs.registered.get(desired.service)
    if noted is None or (noted.index, noted.digest) != (index, desired.digest):
        return None
    job = desired.job if desired.job["Type"] == "batch" else with_count(desired.job, noted.count, noted.count)
    deployments = jobs.deployments.get(desired.service, ())
    return _observed(desired.service, mesh, _with_deployments(job, noted.version, index, deployments, stopped=False))


def _mesh(listings: Iterable[Iterable[StoredEntry]]) -> Mesh:
    entries = {
        (entry.kind, entry.name): ObservedEntry(entry.body, entry.modify_index)
        for listing in listings
        for entry in listing
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
        routes=routes_by_owner(name for kind, name in entries if kind == ROUTE_KIND),
    )


def _observed(service: str, mesh: Mesh, job: ObservedJob | None) -> Observed:
    routes = mesh.routes.get(service, ())
    keys = (*own_keys(service), *((ROUTE_KIND, name) for name in routes))
    own = {key: mesh.entries[key] for key in keys if key in mesh.entries}
    return Observed(
        job=job,
        entries=ChainMap(own, mesh.routers),
        intentions=mesh.intentions,
        callees=mesh.callees.get(service, ()),
        routes=routes,
    )


def _observe_job(nomad: NomadClient, service: str, jobs: Jobs | None) -> ObservedJob | None:
    job = nomad.read_job(service) if jobs is None or service in jobs.indexes else None
    if job is None:
        return None
    if jobs is not None:
        deployments = jobs.deployments.get(service, ())
    else:
        # That of the version that is there is always the newest; with the others the answer would grow by each deploy.
        newest = nomad.newest_deployment(service)
        deployments = (newest,) if newest is not None else ()
    return _with_deployments(job.body, job.version, job.modify_index, deployments, stopped=job.stop)


def _with_deployments(
    body: Mapping[str, Any], version: int, index: int, deployments: Iterable[Deployment], *, stopped: bool
) -> ObservedJob:
    own = [found for found in deployments if found.job_version == version]
    return ObservedJob(
        body=body,
        version=version,
        modify_index=index,
        stopped=stopped,
        # Nomad forgets old deployments; a version that outlived its deployment was healthy once.
        settled=not own or own[0].status == "successful",
        under_way=bool(own) and not own[0].done,
    )
