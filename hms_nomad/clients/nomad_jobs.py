"""Jobs of Nomad: read, judge, register, dispatch, revert, tag and stop."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from typing import Any

from hms_nomad.clients.errors import InvalidRequestError, NotFoundError
from hms_nomad.clients.nomad_calls import NomadCalls, absent, rows
from hms_nomad.clients.nomad_parse import (
    parse_deployment,
    parse_evaluation,
    parse_job,
    parse_job_summary,
    parse_plan,
    parse_registration,
    parse_validation,
)
from hms_nomad.clients.nomad_types import (
    Deployment,
    Dispatch,
    Evaluation,
    Job,
    JobPlan,
    JobSummary,
    JobValidation,
    Registration,
)
from hms_nomad.clients.transport import nothing_settled


class JobCalls(NomadCalls):
    """Calls on jobs, their evaluations and their versions. All raise the errors of ``hms_nomad.clients.errors``."""

    def read_job(self, job_id: str) -> Job | None:
        """The job as stored, stopped ones included; None when there is none.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#read-job
        """
        operation = f"read job {job_id}"
        segment = self._segment(operation, job_id)
        return absent(lambda: self._read(operation, lambda: self._job.get_job(segment), parse_job))

    def list_jobs(self, prefix: str = "") -> tuple[JobSummary, ...]:
        """The namespace's jobs whose id starts with ``prefix``, with their meta.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#list-jobs
        """
        params = {"meta": "true"} | ({"prefix": prefix} if prefix else {})
        return self._read(
            "list jobs",
            lambda: self._jobs.request(method="get", params=dict(params)).json(),
            rows(parse_job_summary),
        )

    def validate_job(self, job: Mapping[str, Any]) -> JobValidation:
        """Nomad's verdict on a job struct, without registering it; what an admission hook refuses is an error too.

        API: https://developer.hashicorp.com/nomad/api-docs/validate
        """
        operation = f"validate job {job.get('ID', '')}"
        body = {"Job": dict(job)}
        try:
            return self._read(operation, lambda: self._validate.validate_job(body).json(), parse_validation)
        except InvalidRequestError as refusal:
            return JobValidation(errors=(refusal.detail,), warnings="")

    def plan_job(self, job: Mapping[str, Any]) -> JobPlan:
        """What registering ``job`` would change and where it would run; nothing is changed.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#create-job-plan
        """
        operation = f"plan job {job.get('ID', '')}"
        segment = self._segment(operation, str(job.get("ID") or ""))
        return self._read(operation, lambda: self._job.plan_job(segment, {"Job": dict(job)}, diff=True), parse_plan)

    def register_job(self, job: Mapping[str, Any], modify_index: int) -> Registration:
        """Store ``job`` if its JobModifyIndex still is ``modify_index`` (0: it must not exist); never its source text.

        Raises ConflictError when somebody registered another version meanwhile, InvalidRequestError when Nomad refuses
        the content, UnknownOutcomeError when the answer was lost.
        API: https://developer.hashicorp.com/nomad/api-docs/jobs#create-job
        """
        body = {"Job": dict(job), "EnforceIndex": True, "JobModifyIndex": modify_index}
        return self._write(
            f"register job {job.get('ID', '')}",
            lambda: self._jobs.register_job(body),
            parse_registration,
            lambda: self._registered(job, modify_index),
        )

    def stop_job(self, job_id: str, purge: bool = False) -> str:
        """Stop a job and answer the evaluation's id; ``purge`` also forgets its versions.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#stop-a-job
        """
        operation = f"stop job {job_id}"
        segment = self._segment(operation, job_id)
        return self._write(
            operation,
            lambda: self._job.deregister_job(segment, purge="true" if purge else None),
            lambda body: parse_registration(body).eval_id,
            lambda: "" if self._stopped(job_id, purge) else None,
        )

    def job_versions(self, job_id: str) -> tuple[Job, ...]:
        """The versions of a job that Nomad remembers, newest first; empty when there is no such job.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#list-job-versions
        """
        operation = f"list versions of job {job_id}"
        segment = self._segment(operation, job_id)
        parse = rows(parse_job)
        found = absent(
            lambda: self._read(operation, lambda: self._job.get_versions(segment), lambda body: parse(body["Versions"]))
        )
        return tuple(sorted(found or (), key=lambda job: -job.version))

    def revert_job(self, job_id: str, version: int, prior_version: int) -> Registration:
        """Register an older version again if the current one still is ``prior_version``.

        Raises ConflictError when it is not, or when ``version`` is the current one.
        API: https://developer.hashicorp.com/nomad/api-docs/jobs#revert-to-older-job-version
        """
        operation = f"revert job {job_id} to version {version}"
        segment = self._segment(operation, job_id)
        # Nomad takes the id from the body, so there it stands unquoted.
        body = {"JobID": job_id, "JobVersion": version, "EnforcePriorVersion": prior_version}
        return self._write(
            operation,
            lambda: self._job.request(segment, "revert", method="post", json=body).json(),
            parse_registration,
        )

    def tag_version(self, job_id: str, version: int, tag: str, description: str = "") -> None:
        """Give a version a name, which keeps Nomad from forgetting it; the same again changes the description.

        Raises ConflictError when another version of the job has this tag, NotFoundError when there is no such version.
        API: https://developer.hashicorp.com/nomad/api-docs/jobs#create-job-version-tag
        """
        operation = f"tag version {version} of job {job_id} as {tag}"
        path = (self._segment(operation, job_id), "versions", self._segment(operation, tag), "tag")
        body = {"Version": version, "Description": description}
        self._write(
            operation, lambda: self._job.request(*path, method="put", json=body), lambda _: None, nothing_settled
        )

    def untag_version(self, job_id: str, tag: str) -> None:
        """Take a tag away from whichever version has it; none having it is no error.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#delete-job-version-tag
        """
        operation = f"remove tag {tag} of job {job_id}"
        path = (self._segment(operation, job_id), "versions", self._segment(operation, tag), "tag")
        with contextlib.suppress(NotFoundError):
            self._write(operation, lambda: self._job.request(*path, method="delete"), lambda _: None, nothing_settled)

    def dispatch_job(
        self, job_id: str, meta: Mapping[str, str], payload: bytes = b"", idempotency_token: str = ""
    ) -> Dispatch:
        """Run a parameterized job once with ``meta`` and ``payload`` (16 KiB at most).

        With the same ``idempotency_token`` again, nothing new is started as long as Nomad remembers the first run, so
        that a dispatch with a lost answer can be repeated.
        API: https://developer.hashicorp.com/nomad/api-docs/jobs#dispatch-job
        """
        operation = f"dispatch job {job_id}"
        segment = self._segment(operation, job_id)
        body = {"Meta": dict(meta), "Payload": base64.b64encode(payload).decode("ascii")}
        # python-nomad puts the token into the body, where Nomad does not look.
        params = {"idempotency_token": idempotency_token} if idempotency_token else {}
        return self._write(
            operation,
            lambda: self._job.request(segment, "dispatch", method="post", json=body, params=dict(params)).json(),
            lambda answer: Dispatch(answer["DispatchedJobID"], answer.get("EvalID") or ""),
            nothing_settled if idempotency_token else None,
        )

    def newest_deployment(self, job_id: str) -> Deployment | None:
        """The newest deployment of a job; None when it has none, or there is no such job.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#read-job-s-most-recent-deployment
        """
        operation = f"read deployment of job {job_id}"
        segment = self._segment(operation, job_id)
        return absent(
            lambda: self._read(
                operation,
                lambda: self._job.get_deployment(segment),
                lambda body: parse_deployment(body) if body else None,
            )
        )

    def read_evaluation(self, eval_id: str, index: int = 0, wait: float = 0.0) -> Evaluation:
        """An evaluation; with ``index`` not 0 waits up to ``wait`` seconds for a newer one.

        API: https://developer.hashicorp.com/nomad/api-docs/evaluations#read-evaluation
        """
        operation = f"read evaluation {eval_id[:8]}"
        path = (self._segment(operation, eval_id),)
        found = self._snapshot(operation, self._evaluation, path, lambda body: body, index=index, wait=wait)
        return parse_evaluation(found.value, found.index)

    def _registered(self, job: Mapping[str, Any], modify_index: int) -> Registration | None:
        """The registration of ``job`` whose answer was lost; None when the stored job is not this one.

        Nomad itself compares the two: its stored form differs from what was sent.
        """
        job_id = str(job["ID"])
        stored = self.read_job(job_id)
        if stored is None or stored.modify_index == modify_index:
            return None
        if _differs(self.plan_job(job).diff or {"Type": "Added"}):
            return None
        segment = self._segment(f"list evaluations of job {job_id}", job_id)
        evaluations = self._read(
            f"list evaluations of job {job_id}", lambda: self._job.get_evaluations(segment), rows(lambda row: row)
        )
        own = [found for found in evaluations if found.get("JobModifyIndex") == stored.modify_index]
        newest = max(own, key=lambda found: int(found["CreateIndex"]), default={})
        return Registration(str(newest.get("ID") or ""), stored.modify_index, "")

    def _stopped(self, job_id: str, purge: bool) -> bool:
        stored = self.read_job(job_id)
        return stored is None or (stored.stop and not purge)


def _differs(diff: Mapping[str, Any]) -> bool:
    """Whether Nomad's comparison of two jobs holds any difference.

    It calls a scaling policy edited, without naming a field, because the stored one has an id of its own.
    """
    if diff["Type"] in ("Added", "Deleted"):
        return True
    if any(field["Type"] != "None" for field in diff.get("Fields") or ()):
        return True
    return any(_differs(part) for kind in ("Objects", "TaskGroups", "Tasks") for part in diff.get(kind) or ())
