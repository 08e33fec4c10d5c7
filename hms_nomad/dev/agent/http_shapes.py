"""Objects of the store -> the rows and summaries that Nomad's API shows of them."""

from __future__ import annotations

from collections.abc import Iterable

from hms_nomad.dev.agent.instances import ended, healthy, wanted
from hms_nomad.dev.agent.store import Store, job_key
from hms_nomad.dev.agent.values import Json

_WHOLE_ONLY = ("Job", "AllocatedResources", "Resources", "Embedded", "JobCreateIndex", "PreviousAllocation")


def alloc_row(alloc: Json) -> Json:
    """An allocation in a list, which leaves out its job, its ports and what it replaces."""
    row = {key: value for key, value in alloc.items() if key not in _WHOLE_ONLY}
    job = alloc.get("Job") or {}
    return {**row, "JobType": job.get("Type") or "service"}


def job_row(store: Store, job: Json, *, meta: bool) -> Json:
    """A job in a list."""
    fields = (
        "ID",
        "ParentID",
        "Name",
        "Namespace",
        "Type",
        "Priority",
        "Stop",
        "Status",
        "StatusDescription",
        "CreateIndex",
        "ModifyIndex",
        "JobModifyIndex",
        "SubmitTime",
        "Datacenters",
        "NodePool",
        "Version",
    )
    row = {field: job.get(field) for field in fields}
    row |= {"Periodic": bool(job["Periodic"]), "ParameterizedJob": bool(job["ParameterizedJob"])}
    row["JobSummary"] = summary(store, job)
    return {**row, "Meta": job["Meta"]} if meta else row


def summary(store: Store, job: Json) -> Json:
    """How many instances of each group are in which state."""
    groups = {group["Name"]: _counts() for group in job["TaskGroups"]}
    for alloc in store.of_job("allocs", job_key(job["Namespace"], job["ID"])):
        counts = groups.setdefault(alloc["TaskGroup"], _counts())
        counts[{"pending": "Starting"}.get(alloc["ClientStatus"], alloc["ClientStatus"].capitalize())] += 1
    return {"JobID": job["ID"], "Namespace": job["Namespace"], "Summary": groups, "Children": None}


def scale_status(store: Store, job: Json) -> Json:
    """The answer of ``GET /v1/job/:id/scale``."""
    key = job_key(job["Namespace"], job["ID"])
    allocs = store.of_job("allocs", key)
    events = (store.tables["scaling"].get(key) or {"Groups": {}})["Groups"]
    groups = {
        group["Name"]: _scale(group, [one for one in allocs if one["TaskGroup"] == group["Name"]], job)
        | {"Events": events.get(group["Name"])}
        for group in job["TaskGroups"]
    }
    return {
        "JobID": job["ID"],
        "Namespace": job["Namespace"],
        "JobCreateIndex": job["CreateIndex"],
        "JobModifyIndex": job["JobModifyIndex"],
        "JobStopped": job["Stop"],
        "TaskGroups": groups,
    }


def _scale(group: Json, allocs: Iterable[Json], job: Json) -> Json:
    placed = [one for one in allocs if wanted(one) and not ended(one)]
    return {
        "Desired": 0 if job["Stop"] else group["Count"],
        "Placed": len(placed),
        "Running": sum(one["ClientStatus"] == "running" for one in placed),
        "Healthy": sum(healthy(one) is True for one in placed),
        "Unhealthy": sum(healthy(one) is False for one in placed),
    }


def _counts() -> dict[str, int]:
    return dict.fromkeys(("Queued", "Complete", "Failed", "Running", "Starting", "Lost", "Unknown"), 0)
