"""Two groups of two versions of a job -> may an instance be updated in its place, or must another one take it?

What Nomad compares: everything that the running tasks themselves are made of. Services, counts, policies and timeouts
change without touching a task.
"""

from __future__ import annotations

from typing import Any

from hms_nomad.dev.agent.values import Json

_OF_GROUP = ("EphemeralDisk", "Volumes", "Networks")
_OF_TASK = (
    "Driver",
    "User",
    "Config",
    "Env",
    "Artifacts",
    "Vault",
    "Consul",
    "Templates",
    "Resources",
    "Lifecycle",
    "Leader",
    "Kind",
    "DispatchPayload",
    "VolumeMounts",
    "Constraints",
    "Identity",
    "Identities",
)
_OF_JOB = ("Payload",)
UNCHANGING = frozenset(
    {
        "Status",
        "StatusDescription",
        "Stable",
        "Version",
        "CreateIndex",
        "ModifyIndex",
        "JobModifyIndex",
        "SubmitTime",
        "VersionTag",
        "Dispatched",
        "ConsulToken",
        "VaultToken",
        "ConsulNamespace",
        "VaultNamespace",
        "NomadTokenID",
    }
)
"""Fields of a job that Nomad itself writes: another value makes no new version."""


def group_of(job: Json, name: str) -> Json | None:
    """The group of a job with this name."""
    return next((group for group in job["TaskGroups"] if group["Name"] == name), None)


def task_of(group: Json, name: str) -> Json | None:
    """The task of a group with this name."""
    return next((task for task in group["Tasks"] if task["Name"] == name), None)


def specification_changed(before: Json, after: Json) -> bool:
    """True when registering ``after`` makes a new version of ``before``."""
    return bool(_specification(before) != _specification(after))


def needs_replacement(before: Json, after: Json, group: str) -> bool:
    """True when instances of a group must be replaced to be of the job ``after``."""
    old, new = group_of(before, group), group_of(after, group)
    if old is None or new is None or len(old["Tasks"]) != len(new["Tasks"]):
        return True
    if any(_differ(old, new, field) for field in _OF_GROUP) or any(_differ(before, after, field) for field in _OF_JOB):
        return True
    for task in new["Tasks"]:
        other = task_of(old, task["Name"])
        if other is None or any(_differ(other, task, field) for field in _OF_TASK):
            return True
        if _meta(before, old, other) != _meta(after, new, task):
            return True
    return False


def _meta(job: Json, group: Json, task: Json) -> Json:
    return {**(job.get("Meta") or {}), **(group.get("Meta") or {}), **(task.get("Meta") or {})}


def _differ(one: Json, other: Json, field: str) -> bool:
    return bool(_bare(one.get(field)) != _bare(other.get(field)))


def _bare(value: Any) -> Any:
    """Empty and absent are the same."""
    if isinstance(value, dict):
        return {key: bare for key, inner in value.items() if (bare := _bare(inner)) is not None} or None
    if isinstance(value, list):
        return [_bare(inner) for inner in value] or None
    return None if value in ("", 0, False) else value


def _specification(job: Json) -> Any:
    return _bare({key: value for key, value in job.items() if key not in UNCHANGING})
