"""What the servers hold for one service at one moment, as plain values with the indexes that were read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


def release_of(job: Mapping[str, Any]) -> str:
    """The release that a job struct says it is of; "" when it says none."""
    if job.get("Type") == "batch":
        return str((job.get("Meta") or {}).get("release") or "")
    groups = job.get("TaskGroups") or [{}]
    services = groups[0].get("Services") or [{}]
    return str((services[0].get("Meta") or {}).get("release") or "")


class ObservedEntry(Struct, frozen=True):
    """A Consul config entry as stored; ``modify_index`` is what compare-and-set asks for."""

    body: Mapping[str, Any]
    modify_index: int


class ObservedJob(Struct, frozen=True):
    """A Nomad job as stored, with what its latest version came to.

    ``modify_index`` is the job's JobModifyIndex. ``settled`` says that the latest deployment of this version
    succeeded: a job can equal the desired one and still not run.
    """

    body: Mapping[str, Any]
    version: int
    modify_index: int
    stopped: bool
    settled: bool
    under_way: bool = False

    @property
    def group(self) -> Mapping[str, Any]:
        """The job's first group; an empty mapping for a job without groups."""
        groups = self.body.get("TaskGroups") or [{}]
        first: Mapping[str, Any] = groups[0]
        return first

    @property
    def count(self) -> int:
        """How many instances the job asks for now, as the autoscaler or an operator left it."""
        return int(self.group.get("Count") or 0)

    @property
    def service_meta(self) -> Mapping[str, str]:
        """Meta of the group's service, for a batch job its own: release, digest, version."""
        if self.body.get("Type") == "batch":
            return self.meta
        services = self.group.get("Services") or [{}]
        return services[0].get("Meta") or {}

    @property
    def meta(self) -> Mapping[str, str]:
        """The job's own meta: the owner mark."""
        return self.body.get("Meta") or {}


class Observed(Struct, frozen=True):
    """Everything that the plan of one service looks at.

    ``entries`` are keyed by (kind, name): the service's own ones and the routers of the services that it uses.
    ``routes`` are the names of its http-routes.
    ``intentions`` are the service-intentions entries by destination: the service's own one, those of its
    dependencies, and all that name it as a source. ``callees`` are the destinations of the last kind, where somebody
    looked them up for many services at once (None: they are searched for), as ``routes`` are.
    """

    job: ObservedJob | None
    entries: Mapping[tuple[str, str], ObservedEntry]
    intentions: Mapping[str, ObservedEntry]
    callees: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
