"""Allocations and deployments of Nomad: what runs, how it is, and how a rollout goes on."""

from __future__ import annotations

import signal
from typing import Any

from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.clients.nomad_calls import NomadCalls, rows
from hms_nomad.clients.nomad_parse import parse_allocation, parse_checks, parse_deployment, parse_stats
from hms_nomad.clients.nomad_types import Allocation, AllocationCheck, AllocationStats, Deployment, Snapshot
from hms_nomad.clients.transport import nothing_settled


class RolloutCalls(NomadCalls):
    """Calls on allocations and deployments. All raise the errors of ``hms_nomad.clients.errors``."""

    def job_allocations(self, job_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Allocation, ...]]:
        """The allocations of a job, of older versions too; with ``index`` not 0 waits up to ``wait`` seconds for news.

        API: https://developer.hashicorp.com/nomad/api-docs/jobs#list-job-allocations
        """
        operation = f"list allocations of job {job_id}"
        path = (self._segment(operation, job_id), "allocations")
        return self._snapshot(operation, self._job, path, rows(parse_allocation), index=index, wait=wait)

    def list_allocations(self, index: int = 0, wait: float = 0.0) -> Snapshot[tuple[Allocation, ...]]:
        """All allocations of the namespace that Nomad remembers; waits like ``job_allocations``.

        API: https://developer.hashicorp.com/nomad/api-docs/allocations#list-allocations
        """
        return self._snapshot("list allocations", self._allocations, (), rows(parse_allocation), index=index, wait=wait)

    def read_allocation(self, alloc_id: str) -> Allocation:
        """One allocation with its ports. Raises NotFoundError when Nomad has forgotten it, or hides it from the token.

        API: https://developer.hashicorp.com/nomad/api-docs/allocations#read-allocation
        """
        operation = f"read allocation {alloc_id[:8]}"
        segment = self._segment(operation, alloc_id)
        return self._read(operation, lambda: self._allocation.get_allocation(segment), parse_allocation)

    def stop_allocation(self, alloc_id: str) -> str:
        """Stop an allocation, which Nomad then replaces; answers the evaluation's id.

        API: https://developer.hashicorp.com/nomad/api-docs/allocations#stop-allocation
        """
        operation = f"stop allocation {alloc_id[:8]}"
        segment = self._segment(operation, alloc_id)
        return self._write(operation, lambda: self._allocation.stop_allocation(segment), _eval_id)

    def restart_allocation(self, alloc_id: str, task: str = "") -> None:
        """Restart a task of an allocation in its place, or all tasks that run; Nomad makes no new allocation.

        API: https://developer.hashicorp.com/nomad/api-docs/client#restart-allocation
        """
        operation = f"restart {f'task {task} of ' if task else ''}allocation {alloc_id[:8]}"
        segment = self._segment(operation, alloc_id)
        # python-nomad sends no body, so it cannot name a task.
        self._write(
            operation,
            lambda: self._client.allocation.request(segment, "restart", method="post", json={"TaskName": task}),
            lambda _: None,
        )

    def signal_allocation(self, alloc_id: str, name: str, task: str = "") -> None:
        """Send the signal ``name`` (such as SIGHUP) to a task of an allocation, or to all.

        Raises InvalidRequestError for a name that is no signal, for which Nomad would send SIGINT.
        API: https://developer.hashicorp.com/nomad/api-docs/client#signal-allocation
        """
        operation = f"send {name} to {f'task {task} of ' if task else ''}allocation {alloc_id[:8]}"
        segment = self._segment(operation, alloc_id)
        if name not in signal.Signals.__members__:
            raise InvalidRequestError("nomad", operation, self.address, f"{name} is no signal; one is SIGHUP")
        body = {"Signal": name, "Task": task}
        self._write(
            operation,
            lambda: self._client.allocation.request(segment, "signal", method="post", json=body),
            lambda _: None,
        )

    def allocation_checks(self, alloc_id: str) -> tuple[AllocationCheck, ...]:
        """The answers of the checks that Nomad itself runs for an allocation (services of provider "nomad").

        API: https://developer.hashicorp.com/nomad/api-docs/client#allocation-checks
        """
        operation = f"read checks of allocation {alloc_id[:8]}"
        segment = self._segment(operation, alloc_id)
        return self._read(
            operation,
            lambda: self._client.allocation.request(segment, "checks", method="get").json(),
            parse_checks,
        )

    def allocation_stats(self, alloc_id: str) -> AllocationStats:
        """What an allocation uses now; zeros where its node does not publish allocation metrics.

        API: https://developer.hashicorp.com/nomad/api-docs/client#read-allocation-statistics
        """
        operation = f"read use of allocation {alloc_id[:8]}"
        segment = self._segment(operation, alloc_id)
        return self._read(
            operation, lambda: self._client.allocation.request(segment, "stats", method="get").json(), parse_stats
        )

    def list_deployments(self) -> tuple[Deployment, ...]:
        """The deployments of all jobs of the namespace that Nomad remembers, newest first.

        API: https://developer.hashicorp.com/nomad/api-docs/deployments#list-deployments
        """
        found = self._read("list deployments", self._deployments.get_deployments, rows(parse_deployment))
        return tuple(sorted(found, key=lambda deployment: -deployment.create_index))

    def read_deployment(self, deployment_id: str, index: int = 0, wait: float = 0.0) -> Snapshot[Deployment]:
        """A deployment; with ``index`` not 0 waits up to ``wait`` seconds for a newer one.

        API: https://developer.hashicorp.com/nomad/api-docs/deployments#read-deployment
        """
        operation = f"read deployment {deployment_id[:8]}"
        path = (self._segment(operation, deployment_id),)
        return self._snapshot(operation, self._deployment, path, parse_deployment, index=index, wait=wait)

    def deployment_allocations(
        self, deployment_id: str, index: int = 0, wait: float = 0.0
    ) -> Snapshot[tuple[Allocation, ...]]:
        """The allocations that a deployment placed or took over; waits like ``job_allocations``.

        What was deployed before is not among them. Nomad remembers that for hours, with all events of its tasks, so
        the list of the job grows with each deploy. Empty for a deployment that Nomad does not know.
        API: https://developer.hashicorp.com/nomad/api-docs/deployments#list-allocations-for-deployment
        """
        operation = f"list allocations of deployment {deployment_id[:8]}"
        path = ("allocations", self._segment(operation, deployment_id))
        return self._snapshot(operation, self._deployment, path, rows(parse_allocation), index=index, wait=wait)

    def promote_deployment(self, deployment_id: str) -> str:
        """Promote the canaries of all groups; answers the evaluation's id.

        API: https://developer.hashicorp.com/nomad/api-docs/deployments#promote-deployment
        """
        operation = f"promote deployment {deployment_id[:8]}"
        segment = self._segment(operation, deployment_id)
        return self._write(
            operation,
            lambda: self._deployment.promote_deployment_all(segment),
            _eval_id,
            lambda: "" if self._promoted(deployment_id) else None,
        )

    def fail_deployment(self, deployment_id: str) -> str:
        """Mark a deployment failed, which reverts the job where it says so; answers the evaluation's id.

        API: https://developer.hashicorp.com/nomad/api-docs/deployments#fail-deployment
        """
        operation = f"fail deployment {deployment_id[:8]}"
        segment = self._segment(operation, deployment_id)
        return self._write(
            operation,
            lambda: self._deployment.fail_deployment(segment),
            _eval_id,
            lambda: "" if self.read_deployment(deployment_id).value.status == "failed" else None,
        )

    def pause_deployment(self, deployment_id: str, paused: bool) -> str:
        """Pause or resume a deployment; answers the evaluation's id.

        API: https://developer.hashicorp.com/nomad/api-docs/deployments#pause-deployment
        """
        operation = f"{'pause' if paused else 'resume'} deployment {deployment_id[:8]}"
        segment = self._segment(operation, deployment_id)
        return self._write(
            operation, lambda: self._deployment.pause_deployment(segment, paused), _eval_id, nothing_settled
        )

    def _promoted(self, deployment_id: str) -> bool:
        groups = self.read_deployment(deployment_id).value.groups.values()
        return all(group.promoted for group in groups if group.desired_canaries)


def _eval_id(body: Any) -> str:
    return str(body.get("EvalID") or "")
