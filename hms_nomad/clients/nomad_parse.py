"""Nomad's JSON -> the values of ``nomad_types``. Absent and null fields become empty values: Go leaves out zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.nomad_types import (
    Allocation,
    AllocationCheck,
    AllocationStats,
    Deployment,
    DeploymentGroup,
    Evaluation,
    Event,
    GroupScale,
    Job,
    JobPlan,
    JobSummary,
    JobValidation,
    Node,
    NomadAgent,
    NomadToken,
    PlacementFailure,
    Port,
    Registration,
    ScalingEvent,
    ScalingPolicy,
    TaskEvent,
    TaskState,
)

Json = Mapping[str, Any]


def parse_node(body: Json) -> Node:
    """A node from ``GET /v1/node/:id`` or a row of ``GET /v1/nodes``."""
    drivers = body.get("Drivers") or {}
    resources = body.get("NodeResources") or {}
    return Node(
        id=body["ID"],
        name=body.get("Name") or "",
        datacenter=body.get("Datacenter") or "",
        status=body.get("Status") or "",
        eligible=body.get("SchedulingEligibility") == "eligible",
        drivers=frozenset(name for name, state in drivers.items() if state.get("Detected") and state.get("Healthy")),
        attributes=body.get("Attributes") or {},
        node_pool=body.get("NodePool") or "default",
        address=body.get("Address") or (body.get("HTTPAddr") or "").rsplit(":", 1)[0],
        networks=frozenset(str(one.get("Mode")) for one in resources.get("Networks") or ()),
        draining=bool(body.get("Drain") or body.get("DrainStrategy")),
    )


def parse_agent(body: Json) -> NomadAgent:
    """The agent of ``GET /v1/agent/self``."""
    config = body["config"]
    version = config["Version"]
    consul: Json = next(iter(config.get("Consuls") or ()), config.get("Consul") or {})
    client: Json = config.get("Client") or {}
    return NomadAgent(
        version=str(version["Version"] if isinstance(version, dict) else version),
        client=bool(client.get("Enabled")),
        publishes_allocations=bool((config.get("Telemetry") or {}).get("PublishAllocationMetrics")),
        consul_grpc=consul.get("GRPCAddr") or "",
        consul_grpc_ca=consul.get("GRPCCAFile") or "",
        consul_tls=bool(consul.get("EnableSSL")),
        consul_identities=bool(consul.get("ServiceIdentity")),
        acl=bool((config.get("ACL") or {}).get("Enabled")),
    )


def parse_token(body: Json) -> NomadToken:
    """A token of ``GET /v1/acl/token/self``, without its secret."""
    return NomadToken(
        accessor_id=body["AccessorID"],
        name=body.get("Name") or "",
        management=body.get("Type") == "management",
        policies=tuple(body.get("Policies") or ()),
        expires=body.get("ExpirationTime") or "",
    )


def parse_job(body: Json) -> Job:
    """A job from ``GET /v1/job/:id`` or ``GET /v1/job/:id/versions``."""
    return Job(
        id=body["ID"],
        name=body.get("Name") or "",
        namespace=body.get("Namespace") or "default",
        type=body.get("Type") or "",
        status=body.get("Status") or "",
        stop=bool(body.get("Stop")),
        version=int(body.get("Version") or 0),
        modify_index=int(body.get("JobModifyIndex") or 0),
        stable=body.get("Stable"),
        meta=body.get("Meta") or {},
        body=body,
        tag=(body.get("VersionTag") or {}).get("Name") or "",
    )


def parse_job_summary(body: Json) -> JobSummary:
    """A row of ``GET /v1/jobs``."""
    return JobSummary(
        id=body["ID"],
        name=body.get("Name") or "",
        status=body.get("Status") or "",
        type=body.get("Type") or "",
        modify_index=int(body.get("JobModifyIndex") or 0),
        stop=bool(body.get("Stop")),
        meta=body.get("Meta") or {},
    )


def parse_validation(body: Json) -> JobValidation:
    """The answer of ``PUT /v1/validate/job``."""
    errors = tuple(body.get("ValidationErrors") or ())
    if not errors and body.get("Error"):
        errors = (str(body["Error"]),)
    return JobValidation(errors=errors, warnings=body.get("Warnings") or "")


def parse_plan(body: Json) -> JobPlan:
    """The answer of ``PUT /v1/job/:id/plan``."""
    updates = (body.get("Annotations") or {}).get("DesiredTGUpdates") or {}
    return JobPlan(
        diff=body.get("Diff"),
        updates={group: {name: int(count) for name, count in counts.items()} for group, counts in updates.items()},
        failed=parse_failures(body.get("FailedTGAllocs")),
        modify_index=int(body.get("JobModifyIndex") or 0),
        warnings=body.get("Warnings") or "",
    )


def parse_failures(body: Json | None) -> dict[str, PlacementFailure]:
    """``FailedTGAllocs`` of a plan or an evaluation, by group."""
    return {group: _parse_failure(metric) for group, metric in (body or {}).items()}


def _parse_failure(metric: Json) -> PlacementFailure:
    return PlacementFailure(
        nodes_evaluated=int(metric.get("NodesEvaluated") or 0),
        nodes_filtered=int(metric.get("NodesFiltered") or 0),
        nodes_exhausted=int(metric.get("NodesExhausted") or 0),
        constraint_filtered=metric.get("ConstraintFiltered") or {},
        dimension_exhausted=metric.get("DimensionExhausted") or {},
        class_filtered=metric.get("ClassFiltered") or {},
        class_exhausted=metric.get("ClassExhausted") or {},
        quota_exhausted=tuple(metric.get("QuotaExhausted") or ()),
    )


def parse_registration(body: Json) -> Registration:
    """The answer of registering, reverting or scaling a job."""
    return Registration(
        eval_id=body.get("EvalID") or "",
        modify_index=int(body.get("JobModifyIndex") or 0),
        warnings=body.get("Warnings") or "",
    )


def parse_scale_status(body: Json) -> dict[str, GroupScale]:
    """The answer of ``GET /v1/job/:id/scale``."""
    return {
        group: GroupScale(
            desired=int(state.get("Desired") or 0),
            placed=int(state.get("Placed") or 0),
            running=int(state.get("Running") or 0),
            healthy=int(state.get("Healthy") or 0),
            unhealthy=int(state.get("Unhealthy") or 0),
            events=tuple(_parse_scaling_event(event) for event in state.get("Events") or ()),
        )
        for group, state in (body.get("TaskGroups") or {}).items()
    }


def _parse_scaling_event(event: Json) -> ScalingEvent:
    count = event.get("Count")
    return ScalingEvent(
        time_ns=int(event.get("Time") or 0),
        previous_count=int(event.get("PreviousCount") or 0),
        count=None if count is None else int(count),
        message=event.get("Message") or "",
        error=bool(event.get("Error")),
    )


def parse_scaling_policy(body: Json) -> ScalingPolicy:
    """A policy from ``GET /v1/scaling/policy/:id``."""
    target = body.get("Target") or {}
    return ScalingPolicy(
        id=body["ID"],
        job_id=target.get("Job") or "",
        group=target.get("Group") or "",
        type=body.get("Type") or "",
        enabled=bool(body.get("Enabled")),
        min=int(body.get("Min") or 0),
        max=int(body.get("Max") or 0),
        policy=body.get("Policy") or {},
    )


def parse_evaluation(body: Json, index: int) -> Evaluation:
    """An evaluation from ``GET /v1/evaluation/:id``, with the index that its blocking query answered."""
    return Evaluation(
        id=body["ID"],
        status=body.get("Status") or "",
        status_description=body.get("StatusDescription") or "",
        type=body.get("Type") or "",
        triggered_by=body.get("TriggeredBy") or "",
        job_id=body.get("JobID") or "",
        deployment_id=body.get("DeploymentID") or "",
        next_eval=body.get("NextEval") or "",
        blocked_eval=body.get("BlockedEval") or "",
        failed=parse_failures(body.get("FailedTGAllocs")),
        index=index,
    )


def parse_allocation(body: Json) -> Allocation:
    """An allocation, whole (``GET /v1/allocation/:id``) or as a row of a list."""
    deployment = body.get("DeploymentStatus") or {}
    job = body.get("Job") or {}
    version = body.get("JobVersion")
    return Allocation(
        id=body["ID"],
        name=body.get("Name") or "",
        job_id=body.get("JobID") or "",
        job_version=int(version if version is not None else job.get("Version") or 0),
        node_id=body.get("NodeID") or "",
        node_name=body.get("NodeName") or "",
        group=body.get("TaskGroup") or "",
        client_status=body.get("ClientStatus") or "",
        desired_status=body.get("DesiredStatus") or "",
        deployment_id=body.get("DeploymentID") or "",
        healthy=deployment.get("Healthy"),
        canary=bool(deployment.get("Canary")),
        create_index=int(body.get("CreateIndex") or 0),
        modify_index=int(body.get("ModifyIndex") or 0),
        tasks={name: _parse_task(state) for name, state in (body.get("TaskStates") or {}).items()},
        previous_allocation=body.get("PreviousAllocation") or "",
        ports=_parse_ports(body),
        modify_time_ns=int(body.get("ModifyTime") or 0),
    )


def _parse_task(state: Json) -> TaskState:
    return TaskState(
        state=state.get("State") or "",
        failed=bool(state.get("Failed")),
        restarts=int(state.get("Restarts") or 0),
        events=tuple(
            TaskEvent(
                type=event.get("Type") or "",
                message=event.get("DisplayMessage") or event.get("Message") or "",
                time_ns=int(event.get("Time") or 0),
                details=event.get("Details") or {},
            )
            for event in state.get("Events") or ()
        ),
    )


def _parse_ports(body: Json) -> dict[str, Port]:
    shared = (body.get("AllocatedResources") or {}).get("Shared") or {}
    return {
        port["Label"]: Port(port.get("HostIP") or "", int(port.get("Value") or 0), int(port.get("To") or 0))
        for port in shared.get("Ports") or ()
    }


def parse_checks(body: Json | None) -> tuple[AllocationCheck, ...]:
    """The answer of ``GET /v1/client/allocation/:id/checks``, which is null where there are none."""
    return tuple(
        AllocationCheck(
            name=check.get("Check") or "",
            group=check.get("Group") or "",
            task=check.get("Task") or "",
            service=check.get("Service") or "",
            status=check.get("Status") or "",
            output=check.get("Output") or "",
        )
        for check in (body or {}).values()
    )


def parse_stats(body: Json) -> AllocationStats:
    """The answer of ``GET /v1/client/allocation/:id/stats``."""
    usage = body.get("ResourceUsage") or {}
    cpu, memory = usage.get("CpuStats") or {}, usage.get("MemoryStats") or {}
    return AllocationStats(
        cpu_percent=float(cpu.get("Percent") or 0),
        cpu_ticks=float(cpu.get("TotalTicks") or 0),
        memory_bytes=int(memory.get("Usage") or memory.get("RSS") or 0),
    )


def parse_deployment(body: Json) -> Deployment:
    """A deployment from ``GET /v1/deployment/:id`` or a list of them."""
    return Deployment(
        id=body["ID"],
        job_id=body.get("JobID") or "",
        job_version=int(body.get("JobVersion") or 0),
        job_modify_index=int(body.get("JobSpecModifyIndex") or 0),
        status=body.get("Status") or "",
        status_description=body.get("StatusDescription") or "",
        create_index=int(body.get("CreateIndex") or 0),
        modify_index=int(body.get("ModifyIndex") or 0),
        groups={name: _parse_group(state) for name, state in (body.get("TaskGroups") or {}).items()},
        modify_time_ns=int(body.get("ModifyTime") or 0),
    )


def _parse_group(state: Json) -> DeploymentGroup:
    return DeploymentGroup(
        desired_total=int(state.get("DesiredTotal") or 0),
        desired_canaries=int(state.get("DesiredCanaries") or 0),
        placed=int(state.get("PlacedAllocs") or 0),
        placed_canaries=tuple(state.get("PlacedCanaries") or ()),
        healthy=int(state.get("HealthyAllocs") or 0),
        unhealthy=int(state.get("UnhealthyAllocs") or 0),
        promoted=bool(state.get("Promoted")),
        auto_revert=bool(state.get("AutoRevert")),
    )


def parse_event(body: Json, index: int) -> Event:
    """One event of a line of ``GET /v1/event/stream``; ``index`` is the line's."""
    return Event(
        topic=body.get("Topic") or "",
        type=body.get("Type") or "",
        key=body.get("Key") or "",
        index=index,
        payload=body.get("Payload") or {},
    )
