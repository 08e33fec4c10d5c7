"""What Nomad answers, as plain values: only the fields that we read, under the names that operators know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.clients.snapshot import Snapshot as Snapshot  # noqa: PLC0414 - offered here too

_DONE_DEPLOYMENT = frozenset({"failed", "successful", "cancelled"})
_DONE_ALLOCATION = frozenset({"complete", "failed", "lost"})


class Node(Struct, frozen=True):
    """A client node. ``status`` is initializing, ready, down or disconnected; ``eligible`` says that it takes work."""

    id: str
    name: str
    datacenter: str
    status: str
    eligible: bool
    drivers: frozenset[str]
    attributes: Mapping[str, str]
    node_pool: str
    address: str
    networks: frozenset[str] = frozenset()
    draining: bool = False


class NomadAgent(Struct, frozen=True):
    """The agent that answers. ``client`` says that it runs tasks too, ``publishes_allocations`` that it measures them.

    ``consul_*`` is how it reaches Consul: address of gRPC ("" unless it is set), authority of gRPC's certificate, and
    whether it uses TLS; ``consul_identities`` says whether services log in there by their own identity.
    """

    version: str
    client: bool
    publishes_allocations: bool
    consul_grpc: str
    consul_grpc_ca: str
    consul_tls: bool
    consul_identities: bool
    acl: bool


class NomadToken(Struct, frozen=True):
    """A token without its secret; ``expires`` is "" when it does not."""

    accessor_id: str
    name: str
    management: bool
    policies: tuple[str, ...]
    expires: str


class Job(Struct, frozen=True):
    """A job as stored. ``modify_index`` is its JobModifyIndex, ``body`` the whole struct as Nomad changed it.

    ``tag`` is the name that somebody gave this version ("" when nobody did).
    """

    id: str
    name: str
    namespace: str
    type: str
    status: str
    stop: bool
    version: int
    modify_index: int
    stable: bool | None
    meta: Mapping[str, str]
    body: Mapping[str, Any]
    tag: str = ""


class Namespace(Struct, frozen=True):
    """A part of the cluster with jobs and rights of its own."""

    name: str
    description: str
    meta: Mapping[str, str]


class JobSummary(Struct, frozen=True):
    """One row of the list of jobs."""

    id: str
    name: str
    status: str
    type: str
    modify_index: int
    stop: bool
    meta: Mapping[str, str]


class JobValidation(Struct, frozen=True):
    """Nomad's verdict on a job that was not registered; no ``errors`` means that it would be taken."""

    errors: tuple[str, ...]
    warnings: str


class PlacementFailure(Struct, frozen=True):
    """Why a group found no node. The mappings name a constraint, dimension or class and count the nodes."""

    nodes_evaluated: int
    nodes_filtered: int
    nodes_exhausted: int
    constraint_filtered: Mapping[str, int]
    dimension_exhausted: Mapping[str, int]
    class_filtered: Mapping[str, int]
    class_exhausted: Mapping[str, int]
    quota_exhausted: tuple[str, ...]

    def reason(self) -> str:
        """The failure in words, the most telling cause first."""
        if self.nodes_evaluated == 0 and not self.nodes_filtered and not self.nodes_exhausted:
            return "no node in these datacenters and this node pool is ready for work"
        causes = [f"{name} is exhausted on {_nodes(count)}" for name, count in _ranked(self.dimension_exhausted)]
        causes += [f"{_nodes(count)} fail constraint: {name}" for name, count in _ranked(self.constraint_filtered)]
        causes += [f"quota {name} is exhausted" for name in self.quota_exhausted]
        causes += [f"class {name} is filtered on {_nodes(count)}" for name, count in _ranked(self.class_filtered)]
        causes += [f"class {name} is exhausted on {_nodes(count)}" for name, count in _ranked(self.class_exhausted)]
        if not causes:
            causes = [f"{self.nodes_filtered} filtered and {self.nodes_exhausted} exhausted"]
        return f"{'; '.join(causes)} (of {_nodes(self.nodes_evaluated)} looked at)"


class JobPlan(Struct, frozen=True):
    """What registering a job would do. ``updates`` counts Place, Stop, Canary and so on for each group."""

    diff: Mapping[str, Any] | None
    updates: Mapping[str, Mapping[str, int]]
    failed: Mapping[str, PlacementFailure]
    modify_index: int
    warnings: str


class Registration(Struct, frozen=True):
    """A job was stored. ``modify_index`` is no base for the next compare-and-set where nothing changed: read again."""

    eval_id: str
    modify_index: int
    warnings: str


class Dispatch(Struct, frozen=True):
    """A parameterized job was started as the job ``job_id``; ``eval_id`` is empty when it had been started before."""

    job_id: str
    eval_id: str


class ScalingEvent(Struct, frozen=True):
    """Something that scaled a group, or failed to (``error``); ``count`` is None where it was not changed.

    ``time_ns`` is nanoseconds since 1970.
    """

    time_ns: int
    previous_count: int
    count: int | None
    message: str
    error: bool


class GroupScale(Struct, frozen=True):
    """How many allocations a group shall have and has; ``events`` are the last that scaled it, newest first."""

    desired: int
    placed: int
    running: int
    healthy: int
    unhealthy: int
    events: tuple[ScalingEvent, ...]


class ScalingPolicy(Struct, frozen=True):
    """The bounds between which a group may be scaled; ``policy`` is what the autoscaler reads."""

    id: str
    job_id: str
    group: str
    type: str
    enabled: bool
    min: int
    max: int
    policy: Mapping[str, Any]


class Evaluation(Struct, frozen=True):
    """One round of the scheduler; ``failed`` holds the groups that found no node."""

    id: str
    status: str
    status_description: str
    type: str
    triggered_by: str
    job_id: str
    deployment_id: str
    next_eval: str
    blocked_eval: str
    failed: Mapping[str, PlacementFailure]
    index: int


class TaskEvent(Struct, frozen=True):
    """Something that happened to a task; ``time_ns`` is nanoseconds since 1970."""

    type: str
    message: str
    time_ns: int
    details: Mapping[str, str]


class TaskState(Struct, frozen=True):
    """A task of an allocation; ``state`` is pending, running or dead."""

    state: str
    failed: bool
    restarts: int
    events: tuple[TaskEvent, ...]


class Port(Struct, frozen=True):
    """A port of an allocation: ``value`` on the node at ``host_ip``, ``to`` inside (0: the same)."""

    host_ip: str
    value: int
    to: int


class Allocation(Struct, frozen=True):
    """An instance on a node.

    ``ports`` by label and ``previous_allocation``, which it replaces, are filled by reading one; lists leave them out.
    ``modify_time_ns`` is when it last changed, in nanoseconds since 1970.
    """

    id: str
    name: str
    job_id: str
    job_version: int
    node_id: str
    node_name: str
    group: str
    client_status: str
    desired_status: str
    deployment_id: str
    healthy: bool | None
    canary: bool
    create_index: int
    modify_index: int
    tasks: Mapping[str, TaskState]
    previous_allocation: str
    ports: Mapping[str, Port]
    modify_time_ns: int = 0

    @property
    def done(self) -> bool:
        """True when no task of it runs or will run again."""
        return self.client_status in _DONE_ALLOCATION


class AllocationCheck(Struct, frozen=True):
    """The answer of a health check that Nomad itself runs; ``status`` is success, failure or pending."""

    name: str
    group: str
    task: str
    service: str
    status: str
    output: str


class AllocationStats(Struct, frozen=True):
    """What an allocation uses now: percent of one core, MHz, bytes. All zero where the node does not measure."""

    cpu_percent: float
    cpu_ticks: float
    memory_bytes: int


class DeploymentGroup(Struct, frozen=True):
    """How far a deployment is with one group; ``placed_canaries`` are ids of allocations."""

    desired_total: int
    desired_canaries: int
    placed: int
    placed_canaries: tuple[str, ...]
    healthy: int
    unhealthy: int
    promoted: bool
    auto_revert: bool


class Deployment(Struct, frozen=True):
    """The rollout of one job version; ``job_modify_index`` is its JobSpecModifyIndex.

    ``modify_time_ns`` is nanoseconds since 1970, 0 where the server is too old to tell.
    """

    id: str
    job_id: str
    job_version: int
    job_modify_index: int
    status: str
    status_description: str
    create_index: int
    modify_index: int
    groups: Mapping[str, DeploymentGroup]
    modify_time_ns: int = 0

    @property
    def done(self) -> bool:
        """True when its status cannot change any more."""
        return self.status in _DONE_DEPLOYMENT


class Event(Struct, frozen=True):
    """One event of the stream: ``type`` like DeploymentStatusUpdate, ``payload`` the object after the event."""

    topic: str
    type: str
    key: str
    index: int
    payload: Mapping[str, Any]


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
