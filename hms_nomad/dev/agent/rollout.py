"""What a deployment does to the store: it is promoted, paused, failed with the job put back, or successful."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hms_nomad.dev.agent import deployments, jobs
from hms_nomad.dev.agent.changes import specification_changed
from hms_nomad.dev.agent.store import Store, Transaction, job_key, key_of
from hms_nomad.dev.agent.values import ENDED_DEPLOYMENT, Json, seconds, timestamp


def change(transaction: Transaction, deployment: Json, status: str, description: str, **fields: object) -> Json:
    """Store another status of a deployment."""
    body = {
        **deployment,
        **fields,
        "Status": status,
        "StatusDescription": description,
        "ModifyTime": time.time_ns(),
    }
    return transaction.put("deployments", deployment["ID"], body)


def promote(transaction: Transaction, store: Store, deployment: Json, now: float) -> Json:
    """Promote all canaries: they become ordinary instances, and the others follow."""
    states = {}
    placed: set[str] = set()
    for name, state in deployment["TaskGroups"].items():
        promoted = bool(state["DesiredCanaries"])
        placed |= set(state["PlacedCanaries"] or ()) if promoted else set()
        by = timestamp(now + seconds(state["ProgressDeadline"]))
        states[name] = {**state, "Promoted": True, "RequireProgressBy": by} if promoted else state
    for alloc in store.of_job("allocs", key_of(deployment)):
        if alloc["ID"] in placed:
            status = {**(alloc["DeploymentStatus"] or {}), "Canary": False}
            transaction.put("allocs", alloc["ID"], {**alloc, "DeploymentStatus": status})
    described = deployments.description(states)
    return change(transaction, deployment, "running", described, TaskGroups=states)


def fail(transaction: Transaction, store: Store, deployment: Json, reason: str) -> Json:
    """Fail a deployment; where its groups say so, the newest stable version of the job is registered again."""
    job = store.tables["jobs"].get(key_of(deployment))
    reverts = any(state["AutoRevert"] for state in deployment["TaskGroups"].values())
    stable = stable_version(store, job, deployment["JobVersion"]) if job is not None and reverts else None
    if reverts and stable is None:
        reason = f"{reason} - no stable job version to auto revert to"
    if job is not None and stable is not None:
        if specification_changed(job, stable):
            reason = f"{reason} - rolling back to job version {stable['Version']}"
            jobs.upsert(transaction, store, stable)
        else:
            version = stable["Version"]
            reason = (
                f"{reason} - not rolling back to stable job version {version} as current job has same specification"
            )
    return change(transaction, deployment, "failed", reason)


def succeed(transaction: Transaction, store: Store, deployment: Json, job: Json) -> Json:
    """A deployment is done: the version is stable from now on."""
    jobs.replace_version(transaction, store, job, Stable=True)
    return change(transaction, deployment, "successful", deployments.SUCCESSFUL)


def cancel_others(transaction: Transaction, store: Store, job: Json) -> None:
    """End deployments of older versions, and those of a stopped job."""
    for deployment in store.of_job("deployments", job_key(job["Namespace"], job["ID"])):
        if deployment["Status"] in ENDED_DEPLOYMENT:
            continue
        if job["Stop"]:
            change(transaction, deployment, "cancelled", deployments.STOPPED_JOB)
        elif not of_version(deployment, job):
            change(transaction, deployment, "cancelled", deployments.NEWER_JOB)


def of_version(deployment: Json, job: Json) -> bool:
    """True when the deployment is of exactly this version of this job."""
    return bool(deployment["JobVersion"] == job["Version"] and deployment["JobCreateIndex"] == job["CreateIndex"])


def current(store: Store, job: Json) -> Json | None:
    """The deployment of the job's newest version, unless it is done."""
    own = [one for one in store.of_job("deployments", job_key(job["Namespace"], job["ID"])) if of_version(one, job)]
    newest = own[-1] if own else None
    return newest if newest is not None and newest["Status"] not in ("successful", "cancelled") else None


def stable_version(store: Store, job: Json | None, below: int) -> Json | None:
    """The newest stable version older than ``below``."""
    if job is None:
        return None
    return next((one for one in store.versions(job) if one["Stable"] and one["Version"] < below), None)


def counted(
    transaction: Transaction, store: Store, placed: Iterable[Json], judged: Iterable[tuple[Json, bool]], now: float
) -> None:
    """Count new instances and new verdicts on old ones in their deployments."""
    changed: dict[str, Json] = {}

    def state_of(alloc: Json) -> Json | None:
        deployment = changed.get(alloc["DeploymentID"]) or store.tables["deployments"].get(alloc["DeploymentID"])
        if deployment is None or alloc["TaskGroup"] not in deployment["TaskGroups"]:
            return None
        if alloc["DeploymentID"] not in changed:
            groups = {name: dict(state) for name, state in deployment["TaskGroups"].items()}
            changed[alloc["DeploymentID"]] = {**deployment, "TaskGroups": groups}
        return dict.__getitem__(changed[alloc["DeploymentID"]]["TaskGroups"], alloc["TaskGroup"])  # type: ignore[no-any-return]

    for alloc in placed:
        state = state_of(alloc)
        if state is None:
            continue
        state["PlacedAllocs"] += 1
        if (alloc["DeploymentStatus"] or {}).get("Canary"):
            state["PlacedCanaries"] = [*(state["PlacedCanaries"] or ()), alloc["ID"]]
        if not state.get("RequireProgressBy"):
            state["RequireProgressBy"] = timestamp(now + seconds(state["ProgressDeadline"]))
    for alloc, good in judged:
        state = state_of(alloc)
        if state is None:
            continue
        state["HealthyAllocs" if good else "UnhealthyAllocs"] += 1
        if good:
            state["RequireProgressBy"] = timestamp(now + seconds(state["ProgressDeadline"]))
    for deployment_id, deployment in changed.items():
        transaction.put("deployments", deployment_id, {**deployment, "ModifyTime": time.time_ns()})


def renewed(states: dict[str, Json], now: float) -> dict[str, Json]:
    """The groups of a deployment whose deadlines begin anew."""
    return {
        name: {**state, "RequireProgressBy": timestamp(now + seconds(state["ProgressDeadline"]))}
        for name, state in states.items()
    }
