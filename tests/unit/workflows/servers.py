"""A Nomad and a Consul in memory, as far as workflows that look and stop ask them; and services on them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from hms_nomad.apply.audit import ChainEnd
from hms_nomad.clients.consul_types import Check, Instance, KvPair, KvStep, StoredEntry, Transaction
from hms_nomad.clients.errors import ConflictError
from hms_nomad.clients.nomad_types import (
    Allocation,
    Deployment,
    Job,
    JobPlan,
    JobSummary,
    Registration,
    TaskEvent,
    TaskState,
)
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.plan.change import Action, Change
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.deploying.turns import Turns

OURS = {OWNER_KEY: OWNER}


def job(name: str, *, version: int = 0, count: int = 2, stop: bool = False, meta: Mapping[str, str] = OURS) -> Job:
    """A job of ours with a group and a service, as Nomad stores it."""
    service_meta = {"version": f"1.0.{version}", "release": f"r{version}", "url": f"http://{name}.mesh/"}
    group = {"Name": "app", "Count": count, "Scaling": {"Min": 1, "Max": 9}, "Services": [{"Meta": service_meta}]}
    return Job(
        id=name,
        name=name,
        namespace="default",
        type="service",
        status="running",
        stop=stop,
        version=version,
        modify_index=7,
        stable=True,
        meta=meta,
        body={"ID": name, "Meta": dict(meta), "TaskGroups": [group]},
    )


def updated(name: str) -> Change:
    """A change of a job that was there before."""
    return Change("job", name, Action.UPDATE, (), None, 6)


def task(state: str = "running", *events: tuple[str, str], failed: bool = False, restarts: int = 0) -> TaskState:
    """A task; ``events`` are (type, message), a start first unless others are named."""
    told = events or (("Started", "Task started by client"),)
    return TaskState(
        state, failed, restarts, tuple(TaskEvent(kind, text, n, {}) for n, (kind, text) in enumerate(told))
    )


def allocation(id_: str, of: str, *, version: int = 0, status: str = "running", **others: Any) -> Allocation:
    """An instance of job ``of``."""
    fields: dict[str, Any] = {
        "id": id_,
        "name": f"{of}.app[0]",
        "job_id": of,
        "job_version": version,
        "node_id": "n1",
        "node_name": "node-1",
        "group": "app",
        "client_status": status,
        "desired_status": "run",
        "deployment_id": "",
        "healthy": True,
        "canary": False,
        "create_index": 1,
        "modify_index": 1,
        "tasks": {"app": task(), f"connect-proxy-{of}": task()},
        "previous_allocation": "",
        "ports": {},
    }
    return Allocation(**(fields | others))


def sidecar(allocation_id: str, of: str, status: str = "passing", output: str = "", **meta: str) -> Instance:
    """The registration of an instance's sidecar."""
    id_ = f"_nomad-task-{allocation_id}-group-app-{of}-3000-sidecar-proxy"
    check = Check(id=f"{id_}:1", name="listening", status=status, output=output, service_id=id_, node="node-1")
    return Instance(id_, f"{of}-sidecar-proxy", "node-1", "10.0.0.1", 20001, {**OURS, **meta}, (), status, (check,))


@dataclass
class FakeNomad:
    """``done`` lists what was written."""

    jobs: dict[str, Job] = field(default_factory=dict)
    allocations: list[Allocation] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    unplaced: Mapping[str, Any] = field(default_factory=dict)
    output: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    calls: int = 0
    address: str = "http://nomad"
    namespace: str = "default"
    embedded: bool = False

    def list_jobs(self) -> tuple[JobSummary, ...]:
        self.calls += 1
        return tuple(
            JobSummary(one.id, one.name, one.status, one.type, one.modify_index, one.stop, one.meta)
            for one in self.jobs.values()
        )

    def leader(self) -> str:
        return "127.0.0.1:4647"

    def read_job(self, name: str) -> Job | None:
        self.calls += 1
        return self.jobs.get(name)

    def list_deployments(self) -> tuple[Deployment, ...]:
        self.calls += 1
        return tuple(self.deployments)

    def newest_deployment(self, name: str) -> Deployment | None:
        return next((one for one in self.deployments if one.job_id == name), None)

    def job_allocations(self, name: str, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Allocation, ...]]:
        return Snapshot(1, tuple(one for one in self.allocations if one.job_id == name))

    def deployment_allocations(self, deployment_id: str) -> Snapshot[tuple[Allocation, ...]]:
        return Snapshot(1, ())

    def register_job(self, body: Mapping[str, Any], modify_index: int) -> Registration:
        stored = self.jobs.get(body["ID"])
        assert (stored.modify_index if stored else 0) == modify_index
        self.done.append(f"register {body['ID']}")
        self.jobs[body["ID"]] = replace(job(body["ID"], meta=body["Meta"]), body=body)
        return Registration("evaluation", 7, "")

    def plan_job(self, body: Mapping[str, Any]) -> JobPlan:
        return JobPlan(None, {}, self.unplaced, 0, "")

    def stop_job(self, name: str, purge: bool = False) -> str:
        self.done.append(f"{'purge' if purge else 'stop'} {name}")
        if purge:
            del self.jobs[name]
        else:
            self.jobs[name] = replace(self.jobs[name], stop=True)
        self.allocations = [replace(one, client_status="complete") for one in self.allocations if one.job_id == name]
        return "evaluation"

    def logs(
        self,
        alloc_id: str,
        task_name: str,
        kind: str,
        tail_lines: int | None = None,
        *,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[str]:
        if fault := self.faults.get(alloc_id):
            raise fault
        lines = self.output.get((alloc_id, kind), [])
        yield from lines if tail_lines is None else lines[max(0, len(lines) - tail_lines) :]


@dataclass
class FakeConsul:
    """``done`` lists what was written; ``conflicts`` says how often the next writes lose a race."""

    sidecars: list[Instance] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    entries: dict[tuple[str, str], StoredEntry] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    conflicts: int = 0
    calls: int = 0
    address: str = "http://consul"
    keys: dict[str, KvPair] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)
    has_token: bool = False

    def kv_get(self, key: str) -> KvPair | None:
        return self.keys.get(key)

    def kv_list(self, prefix: str) -> tuple[KvPair, ...]:
        return tuple(pair for key, pair in self.keys.items() if key.startswith(prefix))

    def kv_put(self, key: str, value: bytes, modify_index: int | None = None, acquire: str | None = None) -> bool:
        held = self.keys.get(key)
        if acquire is not None and held is not None and held.session not in ("", acquire):
            return False
        self.keys[key] = KvPair(key, value, 1, acquire or "")
        return True

    def kv_transact(self, operation: str, steps: Sequence[KvStep]) -> Transaction:
        refused = tuple(place for place, step in enumerate(steps) if self._is_refused(step))
        if refused:
            return Transaction(refused=refused)
        pairs: list[KvPair] = []
        for step in steps:
            if step.verb == "get-tree":
                pairs += self.kv_list(step.key)
            elif step.verb in ("delete", "delete-cas"):
                self.keys.pop(step.key, None)
            elif step.verb != "check-session":
                self.keys[step.key] = KvPair(step.key, step.value, 1, step.session)
                # Consul does not send back what was written.
                pairs.append(KvPair(step.key, b"", 1, step.session))
        return Transaction(tuple(pairs))

    def _is_refused(self, step: KvStep) -> bool:
        held = self.keys.get(step.key)
        if step.verb == "lock":
            return held is not None and held.session not in ("", step.session)
        if step.verb == "check-session":
            return held is None or held.session != step.session
        return step.verb == "cas" and (held.modify_index if held else 0) != step.index

    def create_session(self, name: str, ttl_seconds: int, lock_delay_seconds: int, behavior: str = "release") -> str:
        self.sessions.append(f"session-{len(self.sessions)}")
        return self.sessions[-1]

    def renew_session(self, session_id: str) -> None:
        pass

    def session_info(self, session_id: str) -> str | None:
        return session_id if session_id in self.sessions else None

    def destroy_session(self, session_id: str) -> None:
        self.sessions = [known for known in self.sessions if known != session_id]
        self.keys = {key: pair for key, pair in self.keys.items() if pair.session != session_id}

    def kv_delete(self, key: str, modify_index: int) -> bool:
        return self.keys.pop(key, None) is not None

    def store(self, kind: str, name: str, body: Mapping[str, Any] | None = None, meta: Any = OURS) -> None:
        full = {"Kind": kind, "Name": name, "Meta": meta, **(body or {})}
        self.entries[kind, name] = StoredEntry(kind, name, full, len(self.entries) + 10)

    def instances(self, name: str, connect: bool = False, **_: Any) -> Snapshot[tuple[Instance, ...]]:
        self.calls += 1
        found = [one for one in self.sidecars if one.service == f"{name}-sidecar-proxy"] if connect else []
        return Snapshot(1, tuple(found))

    def services(self) -> Snapshot[Mapping[str, tuple[str, ...]]]:
        self.calls += 1
        return Snapshot(1, {one.service: () for one in self.sidecars})

    def all_checks(self) -> tuple[Check, ...]:
        self.calls += 1
        return tuple(self.checks)

    def list_entries(self, kind: str) -> tuple[StoredEntry, ...]:
        self.calls += 1
        return tuple(entry for (stored, _), entry in self.entries.items() if stored == kind)

    def read_entry(self, kind: str, name: str) -> StoredEntry | None:
        return self.entries.get((kind, name))

    def delete_entry(self, kind: str, name: str, modify_index: int) -> None:
        self._race(f"delete {kind} {name}")
        assert self.entries[kind, name].modify_index == modify_index
        del self.entries[kind, name]

    def write_entry(self, body: Mapping[str, Any], modify_index: int) -> None:
        self._race(f"write {body['Kind']} {body['Name']}")
        stored = self.entries.get((body["Kind"], body["Name"]))
        if (stored.modify_index if stored else 0) != modify_index:
            raise ConflictError("consul", f"write {body['Kind']} {body['Name']}", self.address, "it changed")
        self.store(body["Kind"], body["Name"], body, body.get("Meta"))

    def _race(self, what: str) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError("consul", what, self.address, "it changed")
        self.done.append(what)


def session(nomad: FakeNomad, consul: FakeConsul) -> Any:
    """A session on the two."""
    return SimpleNamespace(
        platform=Platform(),
        nomad=nomad,
        consul=consul,
        vault=None,
        lock_wait=0.0,
        retries=RetryBudget(),
        locks=None,
        chain=ChainEnd(),
        turns=Turns(),
    )
