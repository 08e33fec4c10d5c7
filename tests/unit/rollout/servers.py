"""A Nomad, a Consul and sidecars in memory that obey the rules which rollouts rely on; each keeps a log of writes.

Nomad: a new version of a job gets a deployment with canaries, which become healthy at once; a failed deployment reverts
the job; a promoted one ends the old instances. Consul: compare-and-set, and no entry may name an unknown subset.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from hms_nomad.clients.consul_types import Instance, KvPair, StoredEntry
from hms_nomad.clients.envoy import EnvoySample
from hms_nomad.clients.errors import ConflictError, InvalidRequestError
from hms_nomad.clients.nomad_news import JobNews
from hms_nomad.clients.nomad_types import (
    Allocation,
    Deployment,
    DeploymentGroup,
    Evaluation,
    Event,
    Job,
    JobPlan,
    PlacementFailure,
    Port,
    Registration,
    TaskEvent,
    TaskState,
)
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.plan.observed import release_of

FULL = PlacementFailure(1, 0, 1, {}, {"cpu": 1}, {}, {}, ())


@dataclass
class Log:
    """What was written, in order; ``before`` is called with each line before the server looks at it."""

    lines: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda line: None
    news: threading.Condition = field(default_factory=threading.Condition)
    index: int = 1

    def write(self, line: str) -> None:
        with self.news:
            self.lines.append(line)
            self.index += 1
            self.news.notify_all()

    def wait(self, index: int, seconds: float) -> int:
        with self.news:
            if index:
                self.news.wait_for(lambda: self.index != index, timeout=min(seconds, 0.2))
            return self.index


class FakeConsul:
    """Keys, entries, and the instances that the fake Nomad runs."""

    address = "http://consul"

    def __init__(self, log: Log) -> None:
        self.log = log
        self.keys: dict[str, KvPair] = {}
        self.entries: dict[tuple[str, str], StoredEntry] = {}
        self.registered: Callable[[str], list[Instance]] = lambda service: []

    def kv_get(self, key: str) -> KvPair | None:
        return self.keys.get(key)

    def kv_list(self, prefix: str) -> tuple[KvPair, ...]:
        return tuple(pair for key, pair in sorted(self.keys.items()) if key.startswith(prefix))

    def kv_put(self, key: str, value: bytes, modify_index: int | None = None) -> bool:
        self.log.before(f"key {key.split('/')[1]}")
        stored = self.keys.get(key)
        if modify_index is not None and modify_index != (stored.modify_index if stored else 0):
            return False
        self.log.write(f"key {key.split('/')[1]}")
        self.keys[key] = KvPair(key, value, self.log.index, "")
        return True

    def kv_delete(self, key: str, modify_index: int) -> bool:
        if key in self.keys and self.keys[key].modify_index == modify_index:
            del self.keys[key]
            self.log.write(f"no key {key.split('/')[1]}")
            return True
        return key not in self.keys

    def kv_wait(self, key: str, index: int, wait: float) -> Snapshot[bool]:
        return Snapshot(self.log.wait(index, wait), key in self.keys)

    def instances(self, service: str, index: int = 0, wait: float = 0.0, **_: Any) -> Snapshot[tuple[Instance, ...]]:
        return Snapshot(self.log.wait(index, wait), tuple(self.registered(service)))

    def read_entry(self, kind: str, name: str) -> StoredEntry | None:
        return self.entries.get((kind, name))

    def list_entries(self, kind: str) -> tuple[StoredEntry, ...]:
        return tuple(entry for (stored, _), entry in self.entries.items() if stored == kind)

    def write_entry(self, body: Mapping[str, Any], modify_index: int) -> StoredEntry:
        key = str(body["Kind"]), str(body["Name"])
        self.log.before(_entry_line(body))
        stored = self.entries.get(key)
        if modify_index != (stored.modify_index if stored else 0):
            raise ConflictError("consul", f"write {key[0]} {key[1]}", self.address, "it changed")
        self.log.write(_entry_line(body))
        body = json.loads(json.dumps(body))
        entry = StoredEntry(*key, body, self.log.index)
        self._check({**self.entries, key: entry}, key[1])
        self.entries[key] = entry
        return entry

    def delete_entry(self, kind: str, name: str, modify_index: int) -> None:
        self.log.before(f"no {kind}")
        stored = self.entries.get((kind, name))
        if stored is None:
            return
        if stored.modify_index != modify_index:
            raise ConflictError("consul", f"delete {kind} {name}", self.address, "it changed")
        left = {key: entry for key, entry in self.entries.items() if key != (kind, name)}
        self.log.write(f"no {kind}")
        self._check(left, name)
        self.entries = left

    def _check(self, entries: Mapping[tuple[str, str], StoredEntry], name: str) -> None:
        def body(kind: str) -> Mapping[str, Any]:
            found = entries.get((kind, name))
            return found.body if found else {}

        known = set(body("service-resolver").get("Subsets") or {})
        named = {part["ServiceSubset"] for part in body("service-splitter").get("Splits") or ()}
        routes = body("service-router").get("Routes") or ()
        named |= {r["Destination"]["ServiceSubset"] for r in routes if "ServiceSubset" in r.get("Destination", {})}
        if not named <= known:
            raise InvalidRequestError("consul", "write", self.address, f"unknown subsets {named - known}")


class FakeNomad:
    """One job, its versions, deployments and instances. ``spoil`` says how instances of a version number end up."""

    address = "http://nomad"
    namespace = "default"

    def __init__(self, log: Log, name: str) -> None:
        self.log, self.name = log, name
        self.versions: list[Job] = []
        self.deployments: list[Deployment] = []
        self.allocations: list[Allocation] = []
        self.tags: dict[str, int] = {}
        self.full = False
        self.spoil: Callable[[Allocation], Allocation] = lambda allocation: allocation

    @property
    def job(self) -> Job:
        return self.versions[-1]

    def leader(self) -> str:
        return "127.0.0.1:4647"

    def read_job(self, name: str) -> Job | None:
        return self.versions[-1] if self.versions and name == self.name else None

    def job_versions(self, name: str) -> tuple[Job, ...]:
        return tuple(reversed(self.versions))

    def plan_job(self, body: Mapping[str, Any]) -> JobPlan:
        return JobPlan(None, {"app": {"InPlaceUpdate": 1}}, {}, self.versions[-1].modify_index, "")

    def newest_deployment(self, name: str) -> Deployment | None:
        return next(reversed(self.deployments), None)

    def read_deployment(self, deployment_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[Deployment]:
        return Snapshot(self.log.index, next(found for found in self.deployments if found.id == deployment_id))

    def job_allocations(self, name: str, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Allocation, ...]]:
        return Snapshot(self.log.wait(index, wait), tuple(self.allocations) if name == self.name else ())

    def deployment_allocations(
        self, deployment_id: str, index: int = 0, wait: float = 0.0
    ) -> Snapshot[tuple[Allocation, ...]]:
        version = self.read_deployment(deployment_id).value.job_version
        return Snapshot(
            self.log.wait(index, wait), tuple(one for one in self.allocations if one.job_version == version)
        )

    def read_allocation(self, alloc_id: str) -> Allocation:
        found = next(one for one in self.allocations if one.id == alloc_id)
        return replace(found, ports={"probe-gve": Port("127.0.0.1", 1, 0), "health": Port("127.0.0.1", 1, 0)})

    def read_evaluation(self, eval_id: str, index: int = 0, wait: float = 0.0) -> Evaluation:
        failed = {"app": FULL} if self.full else {}
        return Evaluation(eval_id, "complete", "", "service", "", self.name, "", "", "", failed, self.log.index)

    @cached_property
    def news(self) -> JobNews:
        return JobNews(self.events)

    def events(self, *_: Any, wanted: Callable[[], bool], **__: Any) -> Iterator[Event]:
        index = self.log.index
        while wanted():
            before, index = index, self.log.wait(index, 0.2)
            if index != before:
                newest = self.deployments[-1].id if self.deployments else ""
                changed = {"ID": "instance", "JobID": self.name, "DeploymentID": newest}
                yield Event("Allocation", "AllocationUpdated", "instance", index, {"Allocation": changed})

    def logs(self, *_: Any, **__: Any) -> Any:
        return iter(("cannot open the database",))

    def tag_version(self, name: str, version: int, tag: str, description: str = "") -> None:
        self.tags[tag] = version

    def untag_version(self, name: str, tag: str) -> None:
        self.tags.pop(tag, None)

    def register_job(self, body: Mapping[str, Any], modify_index: int) -> Registration:
        self.log.before(f"register {release_of(body)}")
        if modify_index != (self.job.modify_index if self.versions else 0):
            raise ConflictError("nomad", "register", self.address, "Enforcing job modify index")
        self.log.write(f"register {release_of(body)}")
        self._end_deployments("cancelled")
        self._new_version(body)
        return Registration("evaluation", self.log.index, "")

    def stop_job(self, name: str, purge: bool = False) -> str:
        self.log.write("stop")
        self.versions[-1] = replace(self.job, stop=True)
        self._end_deployments("cancelled")
        self.allocations = []
        return "evaluation"

    def fail_deployment(self, deployment_id: str) -> str:
        self._before(deployment_id, "fail the deployment")
        self._set(deployment_id, status="failed", status_description="Deployment marked as failed")
        stable = next((job for job in reversed(self.versions) if job.stable), None)
        if stable is not None:
            self._new_version(stable.body)
        return "evaluation"

    def promote_deployment(self, deployment_id: str) -> str:
        self._before(deployment_id, "promote")
        release = release_of(self.job.body)
        self.allocations = [one for one in self.allocations if self._release(one) == release]
        self._succeed(deployment_id)
        return "evaluation"

    def _before(self, deployment_id: str, line: str) -> None:
        self.log.before(line)
        if self.read_deployment(deployment_id).value.done:
            raise ConflictError("nomad", line, self.address, "deployment has terminal status")
        self.log.write(line)

    def instances(self, service: str) -> list[Instance]:
        """The sidecars of healthy instances, as Consul lists them."""
        if service != self.name:
            return []
        return [
            Instance(f"{one.id}-sidecar-proxy", service, "node", "127.0.0.1", 1, self._meta(one), (), "passing", ())
            for one in self.allocations
            if one.client_status == "running" and one.healthy is not False
        ]

    def _new_version(self, body: Mapping[str, Any]) -> None:
        version = len(self.versions)
        before = release_of(self.job.body) if self.versions and not self.job.stop else ""
        stored = {**copy.deepcopy(dict(body)), "Version": version}
        self.versions.append(
            Job(self.name, self.name, "default", "service", "running", False, version, self.log.index + 1, None,
                body.get("Meta") or {}, stored)
        )  # fmt: skip
        release, count = release_of(body), int(body["TaskGroups"][0]["Count"])
        replaced = bool(before) and before != release and bool(self.allocations)
        if replaced and not any(self._release(one) == release for one in self.allocations):
            canaries = tuple(self._place(version) for _ in range(0 if self.full else count))
        else:
            canaries = ()
            self.allocations = [one for one in self.allocations if self._release(one) == release]
            self.allocations = [replace(one, job_version=version) for one in self.allocations]
            while len(self.allocations) < count and not self.full:
                self._place(version)
        unhealthy = sum(one.healthy is False for one in self.allocations if one.job_version == version)
        group = DeploymentGroup(
            count, count if replaced and canaries else 0, len(canaries), canaries,
            sum(one.healthy is True for one in self.allocations if one.job_version == version), unhealthy, False, True,
        )  # fmt: skip
        deployment = Deployment(
            f"deployment-{version}",
            self.name,
            version,
            self.log.index,
            "running",
            "",
            self.log.index,
            1,
            {"app": group},
        )
        self.deployments.append(deployment)
        if not canaries and not unhealthy and not self.full:
            self._succeed(deployment.id)

    def _place(self, version: int) -> str:
        number = len(self.allocations) + 100 * version
        state = TaskState("running", False, 0, (TaskEvent("Started", "Task started by client", 1, {}),))
        made = Allocation(
            f"{number:08d}-0000", f"{self.name}.app[0]", self.name, version, "n1", "node", "app", "running", "run", "",
            True, False, version, version, {"app": state}, "", {},
        )  # fmt: skip
        self.allocations.append(self.spoil(made))
        return made.id

    def _succeed(self, deployment_id: str) -> None:
        deployment = next(found for found in self.deployments if found.id == deployment_id)
        groups = {name: replace(group, promoted=True) for name, group in deployment.groups.items()}
        self._set(deployment_id, status="successful", groups=groups)
        self.versions[deployment.job_version] = replace(self.versions[deployment.job_version], stable=True)

    def _end_deployments(self, status: str) -> None:
        for deployment in self.deployments:
            if not deployment.done:
                self._set(deployment.id, status=status)

    def _set(self, deployment_id: str, **fields: Any) -> None:
        self.deployments = [
            replace(found, **fields) if found.id == deployment_id else found for found in self.deployments
        ]

    def _release(self, allocation: Allocation) -> str:
        return release_of(self.versions[allocation.job_version].body)

    def _meta(self, allocation: Allocation) -> dict[str, str]:
        meta = self.versions[allocation.job_version].body["TaskGroups"][0]["Services"][0]["Meta"]
        return {**meta, "metrics_port": str(allocation.create_index + 1)}


class FakeEnvoy:
    """Sidecars' counts by port: each reading has ``grown`` requests more of each class."""

    def __init__(self) -> None:
        self.grown: dict[int, dict[str, int]] = {}
        self.readings = 0

    def scrape(self, address: str, port: int) -> EnvoySample:
        self.readings += 1
        counts = {name: count * self.readings for name, count in self.grown.get(port, {}).items()}
        return EnvoySample(counts, (), True, {}, {}, 1, active=0)


def _entry_line(body: Mapping[str, Any]) -> str:
    if body["Kind"] == "service-splitter":
        return f"weight {body['Splits'][-1]['Weight']:g}"
    return str(body["Kind"])
