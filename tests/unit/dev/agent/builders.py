"""Jobs and allocations for the tests of the engine: as the store holds them, with no agent behind."""

from __future__ import annotations

from typing import Any

from hms_nomad.dev.agent.canonical import canonical
from hms_nomad.dev.agent.values import SECOND, Json, new_id, timestamp

NOW = 1_800_000_000.0


def job(version: int = 0, count: int = 2, script: str = "a", **update: Any) -> Json:
    """A service job with one group; another ``script`` needs other instances, another count does not."""
    sent = {
        "ID": "web",
        "Update": {"MinHealthyTime": SECOND, "HealthyDeadline": 60 * SECOND, "ProgressDeadline": 90 * SECOND, **update},
        "TaskGroups": [
            {
                "Name": "app",
                "Count": count,
                "Tasks": [{"Name": "main", "Driver": "raw_exec", "Config": {"command": script}}],
            }
        ],
    }
    indexes = {"Version": version, "CreateIndex": 1, "ModifyIndex": 9, "JobModifyIndex": 9, "Stable": False}
    return {**canonical(sent), **indexes}


def alloc(of: Json, number: int = 0, client: str = "running", **fields: Any) -> Json:
    """An instance of a job."""
    return {
        "ID": new_id(),
        "Name": f"web.app[{number}]",
        "Namespace": "default",
        "JobID": "web",
        "Job": of,
        "JobVersion": of["Version"],
        "JobCreateIndex": of["CreateIndex"],
        "TaskGroup": "app",
        "DesiredStatus": "run",
        "DesiredTransition": {},
        "ClientStatus": client,
        "TaskStates": {"main": {"FinishedAt": timestamp(NOW)}} if client == "failed" else None,
        "DeploymentID": "",
        "DeploymentStatus": None,
        "NextAllocation": "",
        "RescheduleTracker": None,
        "NodeID": "n",
        "ModifyTime": 0,
        **fields,
    }


def deployment(of: Json, status: str = "running", **state: Any) -> Json:
    """The deployment of a version."""
    group = {
        "AutoRevert": False,
        "AutoPromote": False,
        "ProgressDeadline": 90 * SECOND,
        "RequireProgressBy": timestamp(NOW + 90),
        "Promoted": False,
        "PlacedCanaries": None,
        "DesiredCanaries": 0,
        "DesiredTotal": 2,
        "PlacedAllocs": 0,
        "HealthyAllocs": 0,
        "UnhealthyAllocs": 0,
        **state,
    }
    return {
        "ID": "d1",
        "JobVersion": of["Version"],
        "JobCreateIndex": of["CreateIndex"],
        "Status": status,
        "TaskGroups": {"app": group},
    }


def judged(good: bool | None, *, canary: bool = False) -> Json:
    """Fields of an instance that belongs to the deployment."""
    return {"DeploymentID": "d1", "DeploymentStatus": {"Healthy": good, "Canary": canary}}
