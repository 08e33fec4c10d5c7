"""Servers, journal and memory -> Facts: everything that the machine decides by, read anew each time."""

from __future__ import annotations

import time
from collections import Counter

from hms_nomad.apply.follow import deployment_of
from hms_nomad.clients.nomad_types import Allocation, Deployment, DeploymentGroup, Job
from hms_nomad.compile.entries import RESOLVER, SPLITTER
from hms_nomad.plan.observed import release_of
from hms_nomad.rollout.cluster import Cluster, Memory
from hms_nomad.rollout.facts import DeploymentState, Facts, JobState
from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.judge import Judgement, judge, measured
from hms_nomad.rollout.traffic import is_split, knows_both, knows_only, weight_of

_DEPLOYMENTS = {
    "successful": DeploymentState.SUCCESSFUL,
    "failed": DeploymentState.FAILED,
    "cancelled": DeploymentState.FAILED,
}
# Nomad itself gives up at the deadline; the rest is for its evaluation and for Consul to hear of it.
_PATIENCE_SECONDS = 30.0
_CRASHES = 2
_CRASHED = "crashes at start"
_NOT_RUNNING = {
    "Terminated": _CRASHED,
    "Driver Failure": "cannot be started",
    "Setup Failure": "cannot be set up",
    "Failed Artifact Download": "cannot fetch its artifact",
}
"""What an instance does, by the event of Nomad that says why it does not run."""


def look(cluster: Cluster, rollout: Rollout, memory: Memory) -> Facts:
    """The facts of a rollout now. Raises the errors of ``hms_nomad.clients.errors``."""
    resolver, split = (_entry(cluster, kind) for kind in (RESOLVER, SPLITTER))
    weight = weight_of(rollout, resolver, split)
    job = cluster.nomad.read_job(cluster.service)
    state = _job_state(job, rollout)
    deployment = (
        deployment_of(cluster.nomad, cluster.service, job.version)
        if job is not None and state is JobState.CANDIDATE
        else None
    )
    group = next(iter(deployment.groups.values()), None) if deployment else None
    passing = _passing(cluster)
    reached = passing[rollout.candidate]
    healthy = group is not None and min(group.healthy, reached) >= group.desired_canaries > 0
    waiting = state is JobState.CANDIDATE and not healthy
    fault = memory.fault or _fault(cluster, rollout, state, job, deployment) or _patience_over(memory, rollout, waiting)
    judged = _judged(cluster, rollout, memory)
    gone = rollout.candidate if rollout.taken_back else rollout.stable
    draining, drained = _draining(cluster, rollout, memory)
    return Facts(
        rollout=rollout,
        prepared=knows_both(rollout, resolver, split),
        settled=knows_only(rollout.candidate, resolver, split),
        cleaned=knows_only(rollout.stable, resolver, split),
        split=is_split(rollout, resolver, split),
        weight=weight,
        job=state,
        deployment=_DEPLOYMENTS.get(deployment.status, DeploymentState.RUNNING) if deployment else DeploymentState.NONE,
        promotable=deployment is not None and not deployment.done and _waits_for_promotion(deployment),
        promoted=deployment is not None and _is_promoted(deployment),
        healthy=healthy,
        passing=passing,
        fault=fault,
        progress=_progress(group, reached),
        acknowledged=weight is not None and rollout.acknowledged == weight,
        probed=memory.probed == rollout.step or not rollout.policy.probes,
        requested=memory.requested == rollout.step,
        measuring=memory.window is not None and memory.window.step == rollout.step,
        elapsed=time.monotonic() - memory.window.since if memory.window else 0.0,
        judged=judged,
        forgotten=rollout.forgotten == gone,
        draining=draining,
        drained=drained,
        can_register=memory.job is not None,
    )


def present_weight(cluster: Cluster, rollout: Rollout) -> float | None:
    """The share of traffic, in percent, that the new release has now; None when nothing splits the traffic."""
    return weight_of(rollout, *(_entry(cluster, kind) for kind in (RESOLVER, SPLITTER)))


def candidate_allocations(cluster: Cluster, job: Job) -> tuple[Allocation, ...]:
    """The instances of the job's present version; without a deployment of it there are none."""
    deployment = deployment_of(cluster.nomad, cluster.service, job.version)
    return cluster.nomad.deployment_allocations(deployment.id).value if deployment else ()


def _entry(cluster: Cluster, kind: str) -> dict[str, object]:
    entry = cluster.consul.read_entry(kind, cluster.service)
    return dict(entry.body) if entry else {}


def _job_state(job: Job | None, rollout: Rollout) -> JobState:
    if job is None or job.stop:
        return JobState.STOPPED
    releases = {rollout.stable: JobState.STABLE, rollout.candidate: JobState.CANDIDATE}
    return releases.get(release_of(job.body), JobState.OTHER)


def _is_promoted(deployment: Deployment) -> bool:
    return deployment.status == "successful" or all(group.promoted for group in deployment.groups.values())


def _waits_for_promotion(deployment: Deployment) -> bool:
    return any(group.desired_canaries and not group.promoted for group in deployment.groups.values())


def _passing(cluster: Cluster) -> Counter[str]:
    """Instances that callers can reach, by release: Nomad calls one healthy by its own view, callers need Consul's."""
    instances = cluster.consul.instances(cluster.service, passing=True, connect=True).value
    return Counter(found.meta.get("release", "") for found in instances)


def _fault(cluster: Cluster, rollout: Rollout, state: JobState, job: Job | None, deployment: Deployment | None) -> str:
    """Why the new release cannot go on; "" when nothing is wrong with it."""
    if rollout.taken_back:
        return ""
    if state is JobState.STABLE and rollout.registered is not None:
        return "Nomad took the job back to the old release"
    if deployment is None or job is None or _is_promoted(deployment):
        return ""
    if deployment.done:
        return f"the deployment is {deployment.status}: {deployment.status_description}"
    unhealthy = sum(group.unhealthy for group in deployment.groups.values())
    if unhealthy:
        return f"{unhealthy} of {_desired(deployment)} new instances did not get healthy"
    faults = (_fault_of(found) for found in cluster.nomad.deployment_allocations(deployment.id).value)
    return next((fault for fault in faults if fault), "")


def _fault_of(allocation: Allocation) -> str:
    if allocation.client_status == "failed":
        return f"instance {allocation.id[:8]} of the new release failed"
    for name, task in allocation.tasks.items():
        # Nomad would try some more; an instance that comes up no sooner than that is not one to send users to.
        if allocation.healthy is None and task.restarts >= _CRASHES:
            what, why = next(
                (
                    (_NOT_RUNNING[event.type], event.message)
                    for event in reversed(task.events)
                    if event.type in _NOT_RUNNING
                ),
                (_CRASHED, "restarting"),
            )
            return f"instance {allocation.id[:8]} {what}: task {name}, {why}"
    return ""


def _patience_over(memory: Memory, rollout: Rollout, waiting: bool) -> str:
    """A new release that is not wholly healthy for longer than its deadline is at fault, before traffic and after."""
    if not waiting or rollout.taken_back:
        memory.unhealthy_since = None
        return ""
    now = time.monotonic()
    memory.unhealthy_since = memory.unhealthy_since or now
    limit = rollout.policy.deadline + _PATIENCE_SECONDS
    return f"not every new instance is healthy after {limit:.0f} s" if now - memory.unhealthy_since > limit else ""


def _judged(cluster: Cluster, rollout: Rollout, memory: Memory) -> Judgement:
    window = memory.window
    if window is None or window.step != rollout.step or rollout.retiring:
        return Judgement()
    new, old = cluster.sidecars.release(rollout.candidate), cluster.sidecars.release(rollout.stable)
    return judge(rollout.policy, measured(window.new, new), measured(window.old, old))


def _draining(cluster: Cluster, rollout: Rollout, memory: Memory) -> tuple[int, float]:
    """Requests that old instances still answer after nobody knows them any more, and for how many seconds by now.

    An instance whose sidecar does not say counts as one request: on a busy machine it may well have some.
    """
    if rollout.forgotten != rollout.stable:
        return 0, 0.0
    now = time.monotonic()
    memory.draining_since = memory.draining_since or now
    samples = cluster.sidecars.release(rollout.stable).values()
    return sum(1 if sample is None else sample.active or 0 for sample in samples), now - memory.draining_since


def _progress(group: DeploymentGroup | None, passing: int) -> str:
    if group is None:
        return "Nomad has not begun the deployment"
    return f"{min(group.healthy, passing)} of {group.desired_canaries} new instances healthy"


def _desired(deployment: Deployment) -> int:
    return sum(group.desired_canaries for group in deployment.groups.values())
