"""Jobs of a real Nomad for tests: what a test registers is purged after it, and it can wait for what comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Allocation, Deployment
from tests.contract.nomad_server import job
from tests.waiting import eventually


class Jobs:
    """Makes job structs and waits for their instances."""

    def __init__(self, client: NomadClient) -> None:
        """``client`` registers and purges."""
        self._client = client
        self._used: list[str] = []

    def struct(self, job_id: str, *args: Any, **fields: Any) -> dict[str, Any]:
        """A job struct (see ``nomad_server.job``) whose job will be purged."""
        self._used.append(job_id)
        return job(job_id, *args, **fields)

    def run(self, job_id: str, *args: Any, **fields: Any) -> Allocation:
        """Register a new job and wait until its first instance runs, or has run."""
        self._client.register_job(self.struct(job_id, *args, **fields), modify_index=0)
        return self.started(job_id)

    def started(self, job_id: str, version: int = 0) -> Allocation:
        """The first instance of a version, once it runs or has ended."""

        def first() -> Allocation | None:
            found = self._client.job_allocations(job_id).value
            return next((one for one in found if one.job_version == version and one.client_status != "pending"), None)

        allocation = eventually(first, lambda found: found is not None)
        assert allocation is not None
        return allocation

    def deployment(self, job_id: str, version: int = 0) -> Deployment:
        """The deployment of a version, once there is one."""

        def newest() -> Deployment | None:
            found = self._client.newest_deployment(job_id)
            return found if found is not None and found.job_version == version else None

        deployment = eventually(newest, lambda found: found is not None)
        assert deployment is not None
        return deployment

    def settled(self, job_id: str, version: int = 0) -> Deployment:
        """The deployment of a version, once it has ended."""
        deployment = self.deployment(job_id, version)
        snapshot = self._client.read_deployment(deployment.id)
        while not snapshot.value.done:
            snapshot = self._client.read_deployment(deployment.id, snapshot.index, wait=30)
        return snapshot.value


def contained(jobs: Jobs, job_id: str, image: str, script: str, **config: Any) -> dict[str, Any]:
    """A job struct whose task runs ``script`` in a container of ``image`` (see the fixture of that name)."""
    body = jobs.struct(job_id)
    words = [script, *config.pop("args", [])]
    task = {"Driver": "docker", "Config": {"image": image, "init": True, "args": words, **config}}
    body["TaskGroups"][0]["Tasks"][0] |= {**task, "Resources": {"CPU": 50, "MemoryMB": 64}}
    return body


@contextlib.contextmanager
def jobs_of(client: NomadClient) -> Iterator[Jobs]:
    """Jobs that are purged at the end."""
    jobs = Jobs(client)
    try:
        yield jobs
    finally:
        for job_id in jobs._used:
            client.stop_job(job_id, purge=True)
