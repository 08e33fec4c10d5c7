"""All allocations of this machine: run as the store says; what becomes of them is written there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping

from hms_nomad.dev.agent import rollout
from hms_nomad.dev.agent.alloc_runner import AllocRunner, Machine
from hms_nomad.dev.agent.consul import ConsulError
from hms_nomad.dev.agent.instances import ended
from hms_nomad.dev.agent.store import Store, key_of
from hms_nomad.dev.agent.task_state import client_status
from hms_nomad.dev.agent.values import Json, timestamp

_LOG = logging.getLogger(__name__)
_GATHER_SECONDS = 0.02
_LOOK_SECONDS = 0.25
_BETWEEN_LOOKS_SECONDS = 0.05
_TRIM_SECONDS = 10.0


class Client:
    """Runs what the scheduler decided."""

    def __init__(self, store: Store, machine: Machine, soon: Callable[[str], None], freed: Callable[[], None]) -> None:
        """``soon`` asks the scheduler to look at a job, ``freed`` tells it that something ended."""
        self.runners: dict[str, AllocRunner] = {}
        self._store, self._machine, self._soon, self._freed = store, machine, soon, freed
        self._dirty: dict[str, AllocRunner] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._closed = False

    def resume(self) -> None:
        """Take up what an earlier agent ran."""
        self.sync({key for key, alloc in self._store.tables["allocs"].items() if not ended(alloc)})
        for entry in self._machine.alloc_dir.iterdir():
            if entry.name not in self._store.tables["allocs"]:
                shutil.rmtree(entry, ignore_errors=True)
        self._begin(self._watch())
        self._begin(self._trim())
        self._begin(self._tidy_consul())

    def sync(self, changed: set[str]) -> None:
        """Do what the store says of these allocations."""
        for alloc_id in changed:
            alloc = self._store.tables["allocs"].get(alloc_id)
            runner = self.runners.get(alloc_id)
            if alloc is None:
                shutil.rmtree(self._machine.alloc_dir / alloc_id, ignore_errors=True)
            elif runner is None and not ended(alloc):
                self._start(alloc)
            elif runner is not None and alloc["DesiredStatus"] != "run":
                self._begin(runner.stop())
            elif runner is not None:
                runner.update(alloc)

    def close(self) -> None:
        """Leave everything as it runs: the next agent takes it up."""
        self._closed = True
        self._flush()
        for one in self._work:
            one.cancel()

    async def stop_all(self) -> None:
        """Stop every allocation in good order."""
        await asyncio.gather(*(runner.stop(hurry=True) for runner in list(self.runners.values())))
        for runner in list(self.runners.values()):
            await runner.over.wait()

    def _start(self, alloc: Json) -> None:
        runner = AllocRunner(alloc, self._machine, self._changed)
        self.runners[alloc["ID"]] = runner
        previous = self.runners.get(alloc["PreviousAllocation"])
        self._begin(self._run(runner, previous.over if previous else None))
        if alloc["DesiredStatus"] != "run":
            self._begin(runner.stop())

    async def _run(self, runner: AllocRunner, previous: asyncio.Event | None) -> None:
        await runner.run(previous)
        if not self._closed:
            self._changed(runner)
            self._flush()
            self.runners.pop(runner.alloc["ID"], None)
            self._freed()

    def _changed(self, runner: AllocRunner) -> None:
        if self._closed:
            return
        if not self._dirty:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush)
        self._dirty[runner.alloc["ID"]] = runner

    def _flush(self) -> None:
        """Write what changed since the last time, in one transaction."""
        dirty, self._dirty = self._dirty, {}
        if not dirty:
            return
        now = self._machine.clock()
        jobs: dict[str, None] = {}
        judged: list[tuple[Json, bool]] = []
        with self._store.write() as transaction:
            for alloc_id, runner in dirty.items():
                alloc = self._store.tables["allocs"].get(alloc_id)
                if alloc is None:
                    continue
                body = _observed(alloc, runner, now)
                if body == alloc:
                    continue
                transaction.put("allocs", alloc_id, {**body, "ModifyTime": time.time_ns()})
                verdict = (body["DeploymentStatus"] or {}).get("Healthy")
                judged_now = verdict is not None and (alloc["DeploymentStatus"] or {}).get("Healthy") is None
                if judged_now:
                    judged.append((body, bool(verdict)))
                if judged_now or body["ClientStatus"] != alloc["ClientStatus"]:
                    jobs[key_of(body)] = None
            if judged:
                rollout.counted(transaction, self._store, [], judged, now)
        for key in jobs:
            self._soon(key)

    async def _watch(self) -> None:
        """Judge the health of instances that a deployment waits for."""
        while True:
            waiting = [runner for runner in self.runners.values() if runner.tracker is not None]
            if waiting:
                answers: Mapping[str, Mapping[str, str]] = {}
                if any(runner.waits_for_checks for runner in waiting):
                    try:
                        answers = await self._machine.consul.checks()
                    except ConsulError as error:
                        _LOG.warning("%s", error)
                now = self._machine.clock()
                moments = [moment for runner in waiting if (moment := runner.look(answers, now)) is not None]
                soonest = min(moments, default=now + _LOOK_SECONDS) - now
                await asyncio.sleep(max(_BETWEEN_LOOKS_SECONDS, min(_LOOK_SECONDS, soonest)))
            else:
                await asyncio.sleep(_GATHER_SECONDS)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_SECONDS)
            for runner in list(self.runners.values()):
                with contextlib.suppress(OSError):
                    runner.trim()

    async def _tidy_consul(self) -> None:
        """Take services out of Consul that instances left there which are no more."""
        if not self._machine.consul.address:
            return
        with contextlib.suppress(ConsulError):
            for service_id in await self._machine.consul.services():
                owner = service_id.removeprefix("_nomad-task-")[:36]
                if service_id.startswith("_nomad-task-") and owner not in self.runners:
                    await self._machine.consul.deregister(service_id)

    def _begin(self, work: object) -> None:
        one: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._work.add(one)
        one.add_done_callback(self._work.discard)


def _observed(alloc: Json, runner: AllocRunner, now: float) -> Json:
    """The allocation as it is now on this machine."""
    states = runner.states
    status, description = client_status(states)
    if runner.over.is_set() and status in ("pending", "running"):
        status, description = "complete", "All tasks have completed"
    deployment = alloc["DeploymentStatus"]
    same = runner.alloc["DeploymentID"] == alloc["DeploymentID"]
    if runner.health is not None and same and (deployment or {}).get("Healthy") is None and alloc["DeploymentID"]:
        canary = bool((deployment or {}).get("Canary"))
        deployment = {"Healthy": runner.health, "Canary": canary, "Timestamp": timestamp(now)}
    return {
        **alloc,
        "TaskStates": states,
        "ClientStatus": status,
        "ClientDescription": description,
        "DeploymentStatus": deployment,
    }
