"""The edge of the pure engine: looks at a job, asks the engine, and writes what follows in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from hms_nomad.dev.agent import deployments, jobs, rollout
from hms_nomad.dev.agent.changes import group_of
from hms_nomad.dev.agent.deployments import judge
from hms_nomad.dev.agent.emulation import stand_ins
from hms_nomad.dev.agent.instances import ended
from hms_nomad.dev.agent.periodic import Launches, forget_oldest
from hms_nomad.dev.agent.placement import Ports, refusal, resources_of, taken_ports
from hms_nomad.dev.agent.reconcile import Outcome, Placement, Stop, reconcile
from hms_nomad.dev.agent.store import SILENT, Store, Transaction, job_key
from hms_nomad.dev.agent.values import DEAD_CLIENT, Clock, Json, new_id

_REMEMBERED_ENDED = 20
_ROUNDS = 8


class Scheduler:
    """Does the evaluations of jobs, one job at a time, and looks again when a time comes."""

    def __init__(
        self, store: Store, node_id: str, ports: Ports, clock: Clock, changed: Callable[[set[str]], None]
    ) -> None:
        """``changed`` is told the ids of allocations that are to be started, stopped, updated or forgotten."""
        self._store, self._node_id, self._ports, self._clock, self._changed = store, node_id, ports, clock, changed
        self._waiting: dict[str, None] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._blocked: dict[str, None] = {}
        self._launches = Launches()
        self._running = False
        self._halted = False

    def soon(self, key: str) -> None:
        """Look at a job as soon as the event loop comes to it."""
        if self._halted:
            return
        self._waiting[key] = None
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_soon(self._work)

    def halt(self) -> None:
        """Replace nothing any more: the whole agent is about to end."""
        self._halted = True
        self._waiting.clear()

    def freed(self) -> None:
        """Something ended: jobs that found no room are looked at again."""
        blocked, self._blocked = self._blocked, {}
        for key in blocked:
            self.soon(key)

    def look(self, key: str) -> None:
        """Look at a job now, until nothing more follows."""
        for _ in range(_ROUNDS):
            if not self._round(key):
                return

    def foresee(self, job: Json) -> tuple[Outcome, dict[str, Json]]:
        """What registering ``job`` would do, and why groups of it would find no room; nothing is written."""
        key = job_key(job["Namespace"], job["ID"])
        allocs = self._store.of_job("allocs", key)
        outcome = reconcile(job, allocs, rollout.current(self._store, job), self._clock())
        failed: dict[str, Json] = {}
        for placement in outcome.place:
            group = group_of(job, placement.group)
            if group is not None and placement.group not in failed:
                reason = refusal(job, group, self._node(), self._store.tables["allocs"].values())
                if reason is not None:
                    failed[placement.group] = reason
        return outcome, failed

    def _work(self) -> None:
        self._running = False
        waiting, self._waiting = self._waiting, {}
        for key in waiting:
            self.look(key)

    def _node(self) -> Json:
        return self._store.tables["nodes"][self._node_id]

    def _round(self, key: str) -> bool:
        """One look; True when something was written after which another look is due."""
        job = self._store.tables["jobs"].get(key)
        if job is None:
            return self._forget(key)
        if (job["ParameterizedJob"] and not job["Dispatched"]) or job["Periodic"]:
            self._finish_evaluations(key)
            if job["Periodic"]:
                self._launch(key, job)
            return False
        now = self._clock()
        allocs = self._store.of_job("allocs", key)
        with self._store.write() as transaction:
            rollout.cancel_others(transaction, self._store, job)
            deployment = rollout.current(self._store, job)
            wake = None
            if deployment is not None:
                verdict = judge(deployment, allocs, now)
                wake = verdict.wake
                if verdict.failure:
                    rollout.fail(transaction, self._store, deployment, verdict.failure)
                    jobs.evaluate(transaction, self._store, job, "deployment-watcher", DeploymentID=deployment["ID"])
                    return True
                if verdict.promote:
                    rollout.promote(transaction, self._store, deployment, now)
                    return True
                for alloc in verdict.reschedule:
                    transition = {**(alloc.get("DesiredTransition") or {}), "Reschedule": True}
                    transaction.put("allocs", alloc["ID"], {**alloc, "DesiredTransition": transition})
                if verdict.reschedule:
                    return True
            stable = rollout.stable_version(self._store, job, job["Version"])
            outcome = reconcile(job, allocs, deployment, now, stable)
            if outcome.complete and deployment is not None and deployment["Status"] == "running":
                rollout.succeed(transaction, self._store, deployment, job)
            touched = self._apply(transaction, job, outcome, deployment, now)
        self._rewake(key, [moment for moment in (wake, outcome.wake) if moment is not None])
        if touched:
            self._changed(touched)
        return False

    def _launch(self, key: str, job: Json) -> None:
        """Begin the run of a job with a schedule that is due, and look again at the next one."""
        started, wake = self._launches.look(self._store, job, self._clock())
        if started:
            self.soon(started)
            self._changed(forget_oldest(self._store, job))
        self._rewake(key, [] if wake is None else [wake])

    def _apply(
        self, transaction: Transaction, job: Json, outcome: Outcome, deployment: Json | None, now: float
    ) -> set[str]:
        """Write what the engine decided; answers the ids of the allocations that it touches."""
        store, key = self._store, job_key(job["Namespace"], job["ID"])
        deployment = self._deployment(transaction, job, outcome, deployment)
        pending = [one for one in store.of_job("evals", key) if one["Status"] in ("pending", "blocked")]
        eval_id = next((one["ID"] for one in reversed(pending)), "")
        touched = {stop.alloc["ID"] for stop in outcome.stop}
        self._stop(transaction, outcome.stop)
        for alloc in outcome.in_place:
            touched.add(alloc["ID"])
            self._update(transaction, alloc, job, deployment)
        placed, failed = self._place(transaction, job, outcome.place, deployment, eval_id)
        touched |= {alloc["ID"] for alloc in placed}
        rollout.counted(transaction, store, [one for one in placed if one["DeploymentID"]], [], now)
        self._finish(transaction, job, pending, failed, deployment)
        self._set_status(transaction, key)
        touched |= self._collect(transaction, key)
        return touched

    def _deployment(self, transaction: Transaction, job: Json, outcome: Outcome, before: Json | None) -> Json | None:
        if before is not None:
            states = {
                name: {**state, "DesiredCanaries": outcome.canaries_wanted.get(name, state["DesiredCanaries"])}
                for name, state in before["TaskGroups"].items()
            } | outcome.states
            if states == before["TaskGroups"]:
                return before
            return transaction.put("deployments", before["ID"], {**before, "TaskGroups": states})
        if not outcome.states or job["Stop"]:
            return None
        now = time.time_ns()
        body = {
            "ID": new_id(),
            "Namespace": job["Namespace"],
            "JobID": job["ID"],
            "JobVersion": job["Version"],
            "JobModifyIndex": job["ModifyIndex"],
            "JobSpecModifyIndex": job["JobModifyIndex"],
            "JobCreateIndex": job["CreateIndex"],
            "IsMultiregion": False,
            "TaskGroups": outcome.states,
            "Status": "running",
            "StatusDescription": deployments.description(outcome.states),
            "EvalPriority": job["Priority"],
            "CreateTime": now,
            "ModifyTime": now,
        }
        return transaction.put("deployments", body["ID"], body)

    def _stop(self, transaction: Transaction, stops: Iterable[Stop]) -> None:
        for stop in stops:
            alloc = self._store.tables["allocs"].get(stop.alloc["ID"], stop.alloc)
            body = {**alloc, "DesiredStatus": "stop", "DesiredDescription": stop.reason, "ModifyTime": time.time_ns()}
            transaction.put("allocs", alloc["ID"], body)

    def _update(self, transaction: Transaction, alloc: Json, job: Json, deployment: Json | None) -> None:
        body = {
            **alloc,
            "Job": job,
            "JobVersion": job["Version"],
            "JobCreateIndex": job["CreateIndex"],
            "DeploymentID": deployment["ID"] if deployment else "",
            "DeploymentStatus": None,
            "ModifyTime": time.time_ns(),
        }
        transaction.put("allocs", alloc["ID"], body)

    def _place(
        self, transaction: Transaction, job: Json, placements: list[Placement], deployment: Json | None, eval_id: str
    ) -> tuple[list[Json], dict[str, Json]]:
        """Make allocations; answers them, and for each group that found no room why."""
        placed: list[Json] = []
        failed: dict[str, Json] = {}
        if not placements:
            return placed, failed
        living = [one for one in self._store.tables["allocs"].values() if not ended(one)]
        staying = [one for one in living if one["DesiredStatus"] == "run"]
        taken, held = taken_ports(staying), taken_ports(living)
        for placement in placements:
            group = group_of(placement.job, placement.group)
            if group is None:
                continue
            reason = refusal(placement.job, group, self._node(), [*staying, *placed])
            found: list[Json] | str = [] if reason else self._ports.assign(group, taken, held)
            ports = [] if isinstance(found, str) else found
            if isinstance(found, str):
                reason = {"NodesEvaluated": 1, "NodesExhausted": 1, "DimensionExhausted": {f"network: {found}": 1}}
            if reason is not None:
                known = failed.setdefault(placement.group, {**reason, "CoalescedFailures": -1})
                known["CoalescedFailures"] += 1
                continue
            own = deployment["ID"] if deployment and placement.job["Version"] == job["Version"] else ""
            more = {name: self._ports.one(taken, held) for name in stand_ins(group)}
            alloc = self._allocation(placement, group, ports, more, own, eval_id)
            placed.append(transaction.put("allocs", alloc["ID"], alloc))
            self._link(transaction, placement, alloc)
        return placed, failed

    def _allocation(
        self, placement: Placement, group: Json, ports: list[Json], more: dict[str, int], deployment: str, eval_id: str
    ) -> Json:
        job, now = placement.job, time.time_ns()
        cpu, memory = resources_of(group)
        tasks = {
            task["Name"]: {
                "Cpu": {"CpuShares": task["Resources"]["CPU"]},
                "Memory": {"MemoryMB": task["Resources"]["MemoryMB"]},
            }
            for task in group["Tasks"]
        }
        return {
            "ID": new_id(),
            "Namespace": job["Namespace"],
            "EvalID": eval_id,
            "Name": placement.name,
            "NodeID": self._node_id,
            "NodeName": self._node()["Name"],
            "JobID": job["ID"],
            "Job": job,
            "JobVersion": job["Version"],
            "JobCreateIndex": job["CreateIndex"],
            "TaskGroup": placement.group,
            "Resources": {"CPU": cpu, "MemoryMB": memory},
            "AllocatedResources": {
                "Tasks": tasks,
                "Shared": {"DiskMB": group["EphemeralDisk"]["SizeMB"], "Ports": ports},
            },
            "DesiredStatus": "run",
            "DesiredDescription": "",
            "DesiredTransition": {},
            "ClientStatus": "pending",
            "ClientDescription": "No tasks have started",
            "TaskStates": None,
            "DeploymentID": deployment,
            "DeploymentStatus": {"Healthy": None, "Canary": True, "Timestamp": None} if placement.canary else None,
            "PreviousAllocation": placement.previous["ID"] if placement.previous else "",
            "NextAllocation": "",
            "RescheduleTracker": self._tracker(placement),
            "Embedded": {"Ports": more},
            "CreateTime": now,
            "ModifyTime": now,
        }

    def _tracker(self, placement: Placement) -> Json | None:
        previous = placement.previous
        if previous is None or not placement.rescheduled:
            return None
        before = (previous.get("RescheduleTracker") or {}).get("Events") or []
        event = {
            "RescheduleTime": int(self._clock() * 1e9),
            "PrevAllocID": previous["ID"],
            "PrevNodeID": previous["NodeID"],
            "Delay": 0,
        }
        return {"Events": [*before, event][-20:]}

    def _link(self, transaction: Transaction, placement: Placement, alloc: Json) -> None:
        if placement.previous is not None:
            previous = self._store.tables["allocs"].get(placement.previous["ID"])
            if previous is not None:
                transaction.put("allocs", previous["ID"], {**previous, "NextAllocation": alloc["ID"]})

    def _finish(
        self, transaction: Transaction, job: Json, pending: list[Json], failed: dict[str, Json], deployment: Json | None
    ) -> None:
        blocked = ""
        key = job_key(job["Namespace"], job["ID"])
        if failed:
            self._blocked[key] = None
            already = next((one for one in pending if one["Status"] == "blocked"), None)
            blocked = (
                already["ID"]
                if already
                else jobs.evaluate(
                    transaction,
                    self._store,
                    job,
                    "queued-allocs",
                    Status="blocked",
                    StatusDescription="created to place remaining allocations",
                )["ID"]
            )
        for one in pending:
            if one["Status"] == "blocked" and failed:
                continue
            body = {
                **one,
                "Status": "complete",
                "StatusDescription": "",
                "FailedTGAllocs": failed or None,
                "BlockedEval": blocked if one["Status"] == "pending" else "",
                "DeploymentID": deployment["ID"] if deployment else one["DeploymentID"],
                "QueuedAllocations": {group["Name"]: 0 for group in job["TaskGroups"]},
                "ModifyTime": time.time_ns(),
            }
            transaction.put("evals", one["ID"], body)

    def _finish_evaluations(self, key: str) -> None:
        with self._store.write() as transaction:
            for one in self._store.of_job("evals", key):
                if one["Status"] == "pending":
                    transaction.put("evals", one["ID"], {**one, "Status": "complete"})

    def _set_status(self, transaction: Transaction, key: str) -> None:
        current = self._store.tables["jobs"].get(key)
        if current is None:
            return
        living = [alloc for alloc in self._store.of_job("allocs", key) if alloc["ClientStatus"] not in DEAD_CLIENT]
        waits = any(one["Status"] in ("pending", "blocked") for one in self._store.of_job("evals", key))
        ended_before = self._store.of_job("allocs", key) or current["Stop"]
        status = "running" if living else "pending" if waits or not ended_before else "dead"
        if status != current["Status"]:
            transaction.put("jobs", key, {**current, "Status": status}, SILENT)

    def _collect(self, transaction: Transaction, key: str) -> set[str]:
        """Forget the oldest of the job's instances that ended and whose places others took."""
        over = [one for one in self._store.of_job("allocs", key) if ended(one) and one["DesiredStatus"] != "run"]
        gone = {one["ID"] for one in over[: max(0, len(over) - _REMEMBERED_ENDED)]}
        for alloc_id in gone:
            transaction.remove("allocs", alloc_id)
        return gone

    def _forget(self, key: str) -> bool:
        """A job that was purged: its instances stop, and are forgotten once they have."""
        touched: set[str] = set()
        with self._store.write() as transaction:
            for alloc in self._store.of_job("allocs", key):
                if alloc["DesiredStatus"] == "run":
                    self._stop(transaction, [Stop(alloc, "alloc not needed as job is stopped")])
                    touched.add(alloc["ID"])
            for deployment in self._store.of_job("deployments", key):
                if deployment["Status"] in ("running", "paused"):
                    rollout.change(transaction, deployment, "cancelled", deployments.STOPPED_JOB)
            for one in self._store.of_job("evals", key):
                if one["Status"] in ("pending", "blocked"):
                    transaction.put("evals", one["ID"], {**one, "Status": "complete"})
        self._rewake(key, [])
        if touched:
            self._changed(touched)
        return False

    def _rewake(self, key: str, moments: list[float]) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if moments:
            delay = max(0.0, min(moments) - self._clock())
            self._timers[key] = asyncio.get_running_loop().call_later(delay + 0.005, self.soon, key)
