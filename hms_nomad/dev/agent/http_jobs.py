"""The routes of jobs: list, read, register, plan, validate, stop, versions, revert, tags, scale, dispatch."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hms_nomad.dev.agent import jobs, periodic, rollout
from hms_nomad.dev.agent.blocking import answer, namespace_of, with_index
from hms_nomad.dev.agent.canonical import canonical
from hms_nomad.dev.agent.changes import group_of, specification_changed
from hms_nomad.dev.agent.core import Core
from hms_nomad.dev.agent.http_shapes import alloc_row, job_row, scale_status
from hms_nomad.dev.agent.job_diff import diff_jobs
from hms_nomad.dev.agent.store import Transaction, job_key
from hms_nomad.dev.agent.validation import errors_of, joined
from hms_nomad.dev.agent.values import LIVE_DEPLOYMENT, Json, RefusedError

_LARGEST_PAYLOAD = 16 * 1024


class JobRoutes:
    """Everything below /v1/jobs and /v1/job."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store

    async def jobs(self, request: Request) -> Response:
        """``GET`` lists, ``POST`` and ``PUT`` register."""
        if request.method != "GET":
            return self._register(request, await _body(request))
        prefix, namespace = request.query_params.get("prefix") or "", namespace_of(request)
        meta = request.query_params.get("meta") == "true"

        def read() -> list[Json]:
            rows = sorted(self._store.tables["jobs"].values(), key=lambda job: str(job["ID"]))
            chosen = [job for job in rows if namespace in ("*", job["Namespace"]) and job["ID"].startswith(prefix)]
            return [job_row(self._store, job, meta=meta) for job in chosen]

        return await answer(request, self._store, "jobs", "", read)

    async def validate(self, request: Request) -> Response:
        """``PUT /v1/validate/job``."""
        job = canonical(_job(await _body(request)))
        errors = errors_of(job)
        return JSONResponse(
            {
                "DriverConfigValidated": True,
                "ValidationErrors": list(errors) or None,
                "Error": joined(errors) if errors else "",
                "Warnings": "",
            }
        )

    async def parse(self, request: Request) -> Response:
        """``/v1/jobs/parse``, which only a real Nomad has."""
        del request
        raise RefusedError(501, "the embedded agent parses no HCL: send the job as JSON")

    async def job(self, request: Request) -> Response:  # noqa: PLR0911
        """Everything below one job; its id may hold slashes."""
        path: list[str] = request.scope["path_parts"]
        key = job_key(namespace_of(request), path[0])
        match (request.method, *path[1:]):
            case ("GET",):
                return await answer(request, self._store, "jobs", key, lambda: self._existing(key))
            case ("DELETE",):
                return self._stop(request, key)
            case ("POST" | "PUT",):
                return self._register(request, await _body(request))
            case ("GET", "versions"):
                return await answer(request, self._store, "jobs", key, lambda: self._versions(key))
            case ("GET", "allocations"):
                return await answer(
                    request,
                    self._store,
                    "allocs",
                    key,
                    lambda: [alloc_row(one) for one in self._own(request, "allocs", key)],
                )
            case ("GET", "evaluations"):
                return await answer(request, self._store, "evals", key, lambda: self._rows("evals", key)[::-1])
            case ("GET", "deployments"):
                return await answer(
                    request, self._store, "deployments", key, lambda: self._own(request, "deployments", key)[::-1]
                )
            case ("GET", "deployment"):
                rows = self._own(request, "deployments", key)
                return with_index(self._store, "deployments", rows[-1] if rows else None)
            case ("GET", "scale"):
                return await answer(request, self._store, "jobs", key, lambda: self._scale_status(key, path[0]))
            case ("GET", "submission"):
                raise RefusedError(404, "job source not found")
        return self._write(request.method, key, path, await _body(request), request)

    def _write(  # noqa: PLR0911
        self, method: str, key: str, path: list[str], body: Json, request: Request
    ) -> Response:
        match (method, *path[1:]):
            case ("POST" | "PUT", "plan"):
                return self._plan(body)
            case ("POST" | "PUT", "revert"):
                return self._revert(key, body)
            case ("POST" | "PUT", "scale"):
                return self._scale(key, path[0], body)
            case ("POST" | "PUT", "dispatch"):
                return self._dispatch(key, path[0], body, request.query_params.get("idempotency_token") or "")
            case ("POST" | "PUT", "periodic", "force"):
                return self._force(self._existing(key))
            case ("POST" | "PUT", "evaluate"):
                return self._evaluated(self._existing(key), "job-register")
            case ("POST" | "PUT", "versions", tag, "tag"):
                return self._tag(key, path[0], tag, body)
            case ("DELETE", "versions", tag, "tag"):
                return self._untag(key, path[0], tag)
        raise RefusedError(405, "Invalid method")

    def _existing(self, key: str) -> Json:
        found = self._store.tables["jobs"].get(key)
        if found is None:
            raise RefusedError(404, "job not found")
        return found

    def _rows(self, table: str, key: str) -> list[Json]:
        return self._store.of_job(table, key)

    def _own(self, request: Request, table: str, key: str) -> list[Json]:
        """The rows of the job that there is now; with ``all`` those of purged ones of the same name too."""
        rows, job = self._rows(table, key), self._store.tables["jobs"].get(key)
        if job is None or request.query_params.get("all") == "true":
            return rows
        return [row for row in rows if row["JobCreateIndex"] == job["CreateIndex"]]

    def _versions(self, key: str) -> Json:
        return {"Versions": self._store.versions(self._existing(key)), "Diffs": None}

    def _register(self, request: Request, body: Json) -> Response:
        del request
        job = canonical(_job(body))
        if errors := errors_of(job):
            raise RefusedError(500, joined(errors))
        if job["Namespace"] not in self._store.tables["namespaces"]:
            raise RefusedError(500, f'nonexistent namespace "{job["Namespace"]}"')
        key = job_key(job["Namespace"], job["ID"])
        existing = self._store.tables["jobs"].get(key)
        if body.get("EnforceIndex"):
            refused = jobs.check_index(existing, int(body.get("JobModifyIndex") or 0))
            if refused:
                raise RefusedError(500, refused)
        with self._store.write() as transaction:
            stored = jobs.upsert(transaction, self._store, {**job, "Stop": False})
            return self._answered(transaction, stored, "job-register")

    def _answered(self, transaction: Transaction, job: Json, trigger: str) -> Response:
        """The answer of a write that changes what runs; the scheduler is told."""
        eval_id = ""
        if not job["Periodic"] and not (job["ParameterizedJob"] and not job["Dispatched"]):
            eval_id = jobs.evaluate(transaction, self._store, job, trigger)["ID"]
        self._core.scheduler.soon(job_key(job["Namespace"], job["ID"]))
        return JSONResponse(
            {
                "EvalID": eval_id,
                "EvalCreateIndex": transaction.index,
                "JobModifyIndex": job["JobModifyIndex"],
                "Warnings": "",
                "Index": transaction.index,
                "KnownLeader": False,
                "LastContact": 0,
            },
            headers={"X-Nomad-Index": str(transaction.index)},
        )

    def _evaluated(self, job: Json, trigger: str) -> Response:
        with self._store.write() as transaction:
            return self._answered(transaction, job, trigger)

    def _stop(self, request: Request, key: str) -> Response:
        job = self._store.tables["jobs"].get(key)
        if job is None:
            return JSONResponse({"EvalID": "", "EvalCreateIndex": 0, "JobModifyIndex": 0, "Index": self._store.index})
        with self._store.write() as transaction:
            if request.query_params.get("purge") == "true":
                jobs.purge(transaction, self._store, job)
            else:
                jobs.upsert(transaction, self._store, {**job, "Stop": True}, "JobDeregistered")
            return self._answered(transaction, {**job, "Periodic": None, "ParameterizedJob": None}, "job-deregister")

    def _plan(self, body: Json) -> Response:
        job = canonical(_job(body))
        if errors := errors_of(job):
            raise RefusedError(500, joined(errors))
        key = job_key(job["Namespace"], job["ID"])
        existing = self._store.tables["jobs"].get(key)
        changed = existing is None or specification_changed(existing, {**job, "Stop": False})
        proposed = {
            **job,
            "Version": existing["Version"] + changed if existing else 0,
            "CreateIndex": existing["CreateIndex"] if existing else 0,
            "ModifyIndex": 0,
            "JobModifyIndex": existing["JobModifyIndex"] if existing else 0,
        }
        outcome, failed = self._core.scheduler.foresee(proposed)
        return JSONResponse(
            {
                "Annotations": {"DesiredTGUpdates": outcome.counts, "PreemptedAllocs": None},
                "Diff": diff_jobs(existing, job) if body.get("Diff") else None,
                "FailedTGAllocs": failed or None,
                "JobModifyIndex": existing["JobModifyIndex"] if existing else 0,
                "CreatedEvals": None,
                "NextPeriodicLaunch": "0001-01-01T00:00:00Z",
                "Warnings": "",
                "Index": self._store.index,
            }
        )

    def _revert(self, key: str, body: Json) -> Response:
        job = self._store.tables["jobs"].get(key)
        version = int(body.get("JobVersion") or 0)
        if job is None:
            raise RefusedError(404, f'job "{body.get("JobID")}" not found')
        if version == job["Version"]:
            raise RefusedError(500, "can't revert to current version")
        prior = body.get("EnforcePriorVersion")
        if prior is not None and int(prior) != job["Version"]:
            raise RefusedError(500, f"Current job has version {job['Version']}; enforcing version {prior}")
        old = next((one for one in self._store.versions(job) if one["Version"] == version), None)
        if old is None:
            raise RefusedError(
                404, f'job "{job["ID"]}" in namespace "{job["Namespace"]}" at version {version} not found'
            )
        with self._store.write() as transaction:
            stored = jobs.upsert(transaction, self._store, {**old, "Stop": False})
            return self._answered(transaction, stored, "job-register")

    def _scale_status(self, key: str, job_id: str) -> Json:
        job = self._store.tables["jobs"].get(key)
        if job is None:
            raise RefusedError(404, f"job {job_id} not found" if job_id else "job not found")
        return scale_status(self._store, job)

    def _scale(self, key: str, job_id: str, body: Json) -> Response:
        job = self._store.tables["jobs"].get(key)
        if job is None:
            raise RefusedError(404, f'job "{job_id}" not found')
        target, count = (body.get("Target") or {}).get("Group") or "", body.get("Count")
        group = group_of(job, target)
        if group is None:
            raise RefusedError(400, f'task group "{target}" specified for scaling does not exist in job')
        before = int(group["Count"])
        event = {
            "PreviousCount": before,
            "Count": count,
            "Message": body.get("Message") or "",
            "Error": bool(body.get("Error")),
            "Meta": body.get("Meta"),
        }
        if count is None:
            with self._store.write() as transaction:
                jobs.scaling_event(transaction, self._store, job, target, event)
                return JSONResponse({"EvalID": "", "JobModifyIndex": job["JobModifyIndex"], "Index": transaction.index})
        self._check_scale(job, group, int(count))
        groups = [{**one, "Count": int(count)} if one is group else one for one in job["TaskGroups"]]
        with self._store.write() as transaction:
            stored = jobs.upsert(transaction, self._store, {**job, "TaskGroups": groups})
            jobs.scaling_event(transaction, self._store, stored, target, event)
            return self._answered(transaction, stored, "job-scaling")

    def _check_scale(self, job: Json, group: Json, count: int) -> None:
        scaling = group["Scaling"]
        if scaling:
            if count < scaling["Min"]:
                raise RefusedError(400, f"group count was less than scaling policy minimum: {count} < {scaling['Min']}")
            if count > scaling["Max"]:
                text = f"group count was greater than scaling policy maximum: {count} > {scaling['Max']}"
                raise RefusedError(400, text)
        deployment = rollout.current(self._store, job)
        if deployment is not None and deployment["Status"] in LIVE_DEPLOYMENT:
            raise RefusedError(400, "job scaling blocked due to active deployment")

    def _dispatch(self, key: str, job_id: str, body: Json, token: str) -> Response:
        job = self._store.tables["jobs"].get(key)
        if job is None:
            raise RefusedError(404, "parameterized job not found")
        parameters = job["ParameterizedJob"]
        if not parameters:
            raise RefusedError(500, f'Specified job "{job_id}" is not a parameterized job')
        meta, payload = body.get("Meta") or {}, body.get("Payload") or ""
        self._check_dispatch(parameters, meta, payload)
        known = self._store.tables["dispatches"].get(f"{key}\0{token}") if token else None
        child_id = known["ChildID"] if known else ""
        if known and job_key(job["Namespace"], child_id) in self._store.tables["jobs"]:
            return JSONResponse(
                {"DispatchedJobID": child_id, "EvalID": "", "JobCreateIndex": 0, "Index": self._store.index}
            )
        child_id = f"{job_id}/dispatch-{int(time.time())}-{secrets.token_hex(4)}"
        child = {
            **job,
            "ID": child_id,
            "Name": child_id,
            "ParentID": job_id,
            "Dispatched": True,
            "Status": "",
            "Payload": payload or None,
            "Meta": {**(job["Meta"] or {}), **meta},
        }
        with self._store.write() as transaction:
            if token:
                transaction.put("dispatches", f"{key}\0{token}", {"ChildID": child_id})
            stored = jobs.upsert(transaction, self._store, child)
            found = jobs.evaluate(transaction, self._store, stored, "job-register")
            self._core.scheduler.soon(job_key(stored["Namespace"], child_id))
            return JSONResponse(
                {
                    "DispatchedJobID": child_id,
                    "EvalID": found["ID"],
                    "EvalCreateIndex": transaction.index,
                    "JobCreateIndex": transaction.index,
                    "Index": transaction.index,
                }
            )

    def _force(self, job: Json) -> Response:
        if not job["Periodic"]:
            raise RefusedError(500, "can't force launch non-periodic job")
        run, found = periodic.start(self._store, job, self._core.clock())
        self._core.scheduler.soon(job_key(run["Namespace"], run["ID"]))
        index = self._store.index
        return JSONResponse({"EvalID": found["ID"], "EvalCreateIndex": index, "Index": index})

    def _check_dispatch(self, parameters: Json, meta: Json, payload: str) -> None:
        required, optional = set(parameters["MetaRequired"] or ()), set(parameters["MetaOptional"] or ())
        if unpermitted := sorted(set(meta) - required - optional):
            raise RefusedError(500, f"Dispatch request included unpermitted metadata keys: {unpermitted}")
        if missing := sorted(required - set(meta)):
            raise RefusedError(500, f"Dispatch did not provide required meta keys: {missing}")
        if payload and parameters["Payload"] == "forbidden":
            raise RefusedError(500, "Payload is not allowed")
        if not payload and parameters["Payload"] == "required":
            raise RefusedError(500, "Payload is not provided but required by parameterized job")
        if len(base64.b64decode(payload)) > _LARGEST_PAYLOAD:
            raise RefusedError(500, f"Payload exceeds maximum size; {len(payload)} > {_LARGEST_PAYLOAD}")

    def _tag(self, key: str, job_id: str, tag: str, body: Json) -> Response:
        job = self._store.tables["jobs"].get(key)
        version = int(body.get("Version") or 0)
        versions = self._store.versions(job) if job else []
        found = next((one for one in versions if one["Version"] == version), None)
        if found is None:
            raise RefusedError(404, f'job version not found: job "{job_id}" version {version} not found')
        other = next((one for one in versions if (one["VersionTag"] or {}).get("Name") == tag), None)
        if other is not None and other["Version"] != version:
            raise RefusedError(500, f'tag "{tag}" already exists on a different version of job "{job_id}"')
        mark = {"Name": tag, "Description": body.get("Description") or "", "TaggedTime": time.time_ns()}
        with self._store.write() as transaction:
            jobs.replace_version(transaction, self._store, found, VersionTag=mark)
            return JSONResponse({"Name": tag, "Index": transaction.index})

    def _untag(self, key: str, job_id: str, tag: str) -> Response:
        job = self._store.tables["jobs"].get(key)
        versions = self._store.versions(job) if job else []
        found = next((one for one in versions if (one["VersionTag"] or {}).get("Name") == tag), None)
        if found is None:
            raise RefusedError(404, f'tag "{tag}" not found on job "{job_id}"')
        with self._store.write() as transaction:
            jobs.replace_version(transaction, self._store, found, VersionTag=None)
            return JSONResponse({"Name": tag, "Index": transaction.index})


async def _body(request: Request) -> Json:
    content = await request.body()
    try:
        found: Any = json.loads(content) if content else {}
    except ValueError as error:
        raise RefusedError(400, f"{error}") from None
    if not isinstance(found, dict):
        raise RefusedError(400, "a JSON object is expected")
    return found


def _job(body: Json) -> Json:
    job = body.get("Job")
    if not isinstance(job, dict):
        raise RefusedError(400, "Job must be specified")
    if not job.get("ID"):
        raise RefusedError(400, "Job ID hasn't been provided")
    return job
