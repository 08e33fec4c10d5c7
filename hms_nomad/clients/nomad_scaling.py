"""How many instances a job's groups have, may have, and had: set a count and read what moved it."""

from __future__ import annotations

from hms_nomad.clients.nomad_calls import NomadCalls, absent, rows
from hms_nomad.clients.nomad_parse import parse_registration, parse_scale_status, parse_scaling_policy
from hms_nomad.clients.nomad_types import GroupScale, Registration, ScalingPolicy
from hms_nomad.clients.transport import nothing_settled


class ScalingCalls(NomadCalls):
    """Calls on counts and scaling policies. All raise the errors of ``hms_nomad.clients.errors``."""

    def scale_job(self, job_id: str, group: str, count: int, message: str) -> Registration:
        """Set a group's count; ``message`` is kept in the job's scaling history.

        Raises ConflictError while a deployment of the job runs, InvalidRequestError outside the group's bounds.
        API: https://developer.hashicorp.com/nomad/api-docs/jobs#scale-task-group
        """
        operation = f"scale job {job_id}"
        segment = self._segment(operation, job_id)
        body = {"Count": count, "Target": {"Group": group}, "Message": message}
        return self._write(
            operation,
            lambda: self._job.request(segment, "scale", method="post", json=body).json(),
            parse_registration,
            nothing_settled,
        )

    def scale_status(self, job_id: str) -> dict[str, GroupScale] | None:
        """The counts of a job's groups and what scaled them lately, by group; None when there is no such job.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#read-job-scale-status
        """
        operation = f"read scale of job {job_id}"
        segment = self._segment(operation, job_id)
        return absent(
            lambda: self._read(
                operation, lambda: self._job.request(segment, "scale", method="get").json(), parse_scale_status
            )
        )

    def scaling_policies(self, job_id: str = "") -> tuple[ScalingPolicy, ...]:
        """The scaling policies of a job, or of the whole namespace, with their bounds (one call a policy).

        API: https://developer.hashicorp.com/nomad/api-docs/scaling-policies
        """
        operation = f"list scaling policies of job {job_id}" if job_id else "list scaling policies"
        params = {"job": job_id} if job_id else {}
        ids = self._read(
            operation,
            lambda: self._scaling.request("policies", method="get", params=dict(params)).json(),
            rows(lambda row: str(row["ID"])),
        )
        found = (self._policy(operation, policy_id) for policy_id in ids)
        return tuple(policy for policy in found if policy is not None)

    def _policy(self, operation: str, policy_id: str) -> ScalingPolicy | None:
        segment = self._segment(operation, policy_id)
        return absent(
            lambda: self._read(
                operation,
                lambda: self._scaling.request("policy", segment, method="get").json(),
                parse_scaling_policy,
            )
        )
