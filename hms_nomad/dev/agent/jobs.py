"""Jobs in the store: registered as a new version where anything changed, stopped, scaled, reverted."""

from __future__ import annotations

import time

from hms_nomad.dev.agent.changes import specification_changed
from hms_nomad.dev.agent.store import SILENT, Store, Transaction, job_key, version_key
from hms_nomad.dev.agent.values import Json, nanoseconds, new_id

_REMEMBERED_VERSIONS = 6
_REMEMBERED_EVALUATIONS = 40
_PREFIX = "Enforcing job modify index"


def check_index(existing: Json | None, index: int) -> str:
    """Why a registration that enforces ``index`` is refused, in Nomad's words, or nothing."""
    if index == 0:
        return f"{_PREFIX} 0: job already exists" if existing is not None else ""
    if existing is None:
        return f"{_PREFIX} {index}: job does not exist"
    if existing["JobModifyIndex"] != index:
        return f"{_PREFIX} {index}: job exists with conflicting job modify index: {existing['JobModifyIndex']}"
    return ""


def upsert(transaction: Transaction, store: Store, job: Json, event: str = "JobRegistered") -> Json:
    """Store ``job`` as the newest version of itself; the stored one where nothing changed."""
    key = job_key(job["Namespace"], job["ID"])
    existing = store.tables["jobs"].get(key)
    if existing is not None and not specification_changed(existing, job):
        return existing
    body = {
        **job,
        "Version": existing["Version"] + 1 if existing else 0,
        "CreateIndex": existing["CreateIndex"] if existing else transaction.index,
        "JobModifyIndex": transaction.index,
        "SubmitTime": time.time_ns(),
        "Stable": False,
        "VersionTag": None,
        "Status": "running" if job["ParameterizedJob"] or job["Periodic"] else "pending",
        "Dispatched": job.get("Dispatched") or False,
    }
    transaction.put("jobs", key, body, event)
    _remember(transaction, store, body)
    _write_policies(transaction, store, body)
    return body


def replace_version(transaction: Transaction, store: Store, job: Json, **fields: object) -> Json:
    """Change what Nomad itself says of a version, the newest one or an older, without making a new one."""
    body = {**job, **fields}
    key = job_key(job["Namespace"], job["ID"])
    transaction.put(
        "versions", version_key(job["Namespace"], job["ID"], job["CreateIndex"], job["Version"]), dict(body)
    )
    current = store.tables["jobs"].get(key)
    if current and (current["CreateIndex"], current["Version"]) == (job["CreateIndex"], job["Version"]):
        transaction.put("jobs", key, {**current, **fields}, SILENT)
    return body


def purge(transaction: Transaction, store: Store, job: Json) -> None:
    """Forget a job and its policies; its versions stay as long as allocations of them do."""
    key = job_key(job["Namespace"], job["ID"])
    transaction.remove("jobs", key, "JobDeregistered")
    transaction.remove("scaling", key)
    for policy in policies_of(store, job["Namespace"], job["ID"]):
        transaction.remove("policies", policy["ID"])


def policies_of(store: Store, namespace: str, job_id: str = "") -> list[Json]:
    """The scaling policies of a job, or of a whole namespace."""
    found = []
    for policy in store.tables["policies"].values():
        target = policy["Target"]
        if (namespace == "*" or target["Namespace"] == namespace) and job_id in ("", target["Job"]):
            found.append(policy)
    return found


def evaluation(job: Json, trigger: str, **fields: object) -> Json:
    """A new evaluation of a job that waits to be done."""
    now = time.time_ns()
    return {
        "ID": new_id(),
        "Namespace": job["Namespace"],
        "Priority": job["Priority"],
        "Type": job["Type"],
        "TriggeredBy": trigger,
        "JobID": job["ID"],
        "JobModifyIndex": job["JobModifyIndex"],
        "NodeID": "",
        "DeploymentID": "",
        "Status": "pending",
        "StatusDescription": "",
        "NextEval": "",
        "PreviousEval": "",
        "BlockedEval": "",
        "FailedTGAllocs": None,
        "QueuedAllocations": None,
        "CreateTime": now,
        "ModifyTime": now,
        **fields,
    }


def evaluate(transaction: Transaction, store: Store, job: Json, trigger: str, **fields: object) -> Json:
    """Store a new evaluation; the oldest finished ones of the job are forgotten."""
    found = evaluation(job, trigger, **fields)
    transaction.put("evals", found["ID"], found)
    own = store.of_job("evals", job_key(job["Namespace"], job["ID"]))
    for old in own[: max(0, len(own) - _REMEMBERED_EVALUATIONS)]:
        if old["Status"] not in ("pending", "blocked"):
            transaction.remove("evals", old["ID"])
    return found


def scaling_event(transaction: Transaction, store: Store, job: Json, group: str, event: Json) -> None:
    """Remember what scaled a group, the newest ten events of each."""
    key = job_key(job["Namespace"], job["ID"])
    before = store.tables["scaling"].get(key) or {"Groups": {}}
    whole = {"Time": nanoseconds(time.time()), "CreateIndex": transaction.index, "EvalID": None, "Meta": None, **event}
    events = [whole, *before["Groups"].get(group, [])][:10]
    transaction.put("scaling", key, {"Groups": {**before["Groups"], group: events}})


def _remember(transaction: Transaction, store: Store, job: Json) -> None:
    key = version_key(job["Namespace"], job["ID"], job["CreateIndex"], job["Version"])
    transaction.put("versions", key, dict(job))
    used = {alloc["JobVersion"] for alloc in store.of_job("allocs", job_key(job["Namespace"], job["ID"]))}
    for kept, version in enumerate(store.versions(job), start=1):
        if kept > _REMEMBERED_VERSIONS and version["Version"] not in used and not version["VersionTag"]:
            old = version_key(job["Namespace"], job["ID"], job["CreateIndex"], version["Version"])
            transaction.remove("versions", old)


def _write_policies(transaction: Transaction, store: Store, job: Json) -> None:
    before = {policy["Target"]["Group"]: policy for policy in policies_of(store, job["Namespace"], job["ID"])}
    for group in job["TaskGroups"]:
        scaling = group["Scaling"]
        known = before.pop(group["Name"], None)
        if not scaling:
            before |= {group["Name"]: known} if known else {}
            continue
        policy_id = known["ID"] if known else new_id()
        body = {
            "ID": policy_id,
            "Type": scaling["Type"],
            "Target": {"Namespace": job["Namespace"], "Job": job["ID"], "Group": group["Name"]},
            "Min": scaling["Min"],
            "Max": scaling.get("Max"),
            "Policy": scaling["Policy"],
            "Enabled": scaling["Enabled"],
            **({"CreateIndex": known["CreateIndex"]} if known else {}),
        }
        transaction.put("policies", policy_id, body)
    for policy in before.values():
        transaction.remove("policies", policy["ID"])
