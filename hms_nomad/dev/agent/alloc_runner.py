"""One allocation on this machine: directories, services in Consul, its tasks in the order of their hooks, its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.dev.agent import artifacts, services, sidecar, templates
from hms_nomad.dev.agent.changes import group_of
from hms_nomad.dev.agent.consul import ConsulAgent, ConsulError
from hms_nomad.dev.agent.drivers import Driver
from hms_nomad.dev.agent.environment import Directories, TaskEnvironment
from hms_nomad.dev.agent.health import Tracker
from hms_nomad.dev.agent.log_files import LogFile
from hms_nomad.dev.agent.native_checks import NativeChecks
from hms_nomad.dev.agent.sidecar import Mesh
from hms_nomad.dev.agent.task_runner import Files, TaskRunner
from hms_nomad.dev.agent.task_state import TaskState
from hms_nomad.dev.agent.values import Clock, Json, RefusedError, seconds

_LOG = logging.getLogger(__name__)
_CONSUL_AGAIN_SECONDS = 2.0


class Machine(Struct, frozen=True):
    """What all allocations share: the node, its drivers, Consul, where files lie, and the mark of the stack.

    ``variable`` answers the values of a variable by its namespace and path, None where there is none.
    """

    node: Json
    drivers: Mapping[str, Driver]
    consul: ConsulAgent
    mesh: Mesh
    alloc_dir: Path
    run_dir: Path
    mark: Mapping[str, str]
    variable: Callable[[str, str], Mapping[str, str] | None]
    clock: Clock


class AllocRunner:
    """Runs one allocation until it has ended and what it registered is gone."""

    def __init__(self, alloc: Json, machine: Machine, changed: Callable[[AllocRunner], None]) -> None:
        """``changed`` is told whenever the state of a task or the verdict on the health changed."""
        self.alloc, self._machine, self._changed = alloc, machine, changed
        self.group: Json = group_of(alloc["Job"], alloc["TaskGroup"]) or {}
        self.directories = Directories(machine.alloc_dir / alloc["ID"])
        before = alloc["TaskStates"] or {}
        self.tasks: dict[str, TaskRunner] = {}
        for task in self.group["Tasks"]:
            environment = TaskEnvironment(alloc, task, machine.node, self.directories, machine.mark)
            state = TaskState(before.get(task["Name"]), machine.clock, lambda: changed(self))
            folder = machine.run_dir / f"{alloc['ID']}.{task['Name']}"
            driver = machine.drivers.get(task["Driver"]) or machine.drivers["raw_exec"]
            files = Files(self._prepare, self._refresh)
            self.tasks[task["Name"]] = TaskRunner(environment, state, driver, folder, files, machine.clock)
        self.over = asyncio.Event()
        self.health: bool | None = None
        self.health_note = ""
        self.native = NativeChecks(alloc, self.group, self._fill)
        # It was told to stop; and its main tasks are to end, which is later, by the group's delay.
        self._stopping, self._leaving = asyncio.Event(), asyncio.Event()
        self._ours: dict[str, services.Registered] = {}
        self._side: set[asyncio.Task[None]] = set()
        self._started: set[TaskRunner] = set()
        self._registered = asyncio.Event()
        self.judge_anew()

    def judge_anew(self) -> None:
        """Begin to watch the health for a deployment, where there is one without a verdict."""
        verdict = (self.alloc["DeploymentStatus"] or {}).get("Healthy")
        self.health = verdict
        update = self.group.get("Update")
        watched = self.alloc["DeploymentID"] and verdict is None and update
        self.tracker = Tracker(update, self._machine.clock()) if watched and update else None

    @property
    def states(self) -> dict[str, Json]:
        """The states of all tasks, by name."""
        return {name: task.state.body for name, task in self.tasks.items()}

    @property
    def waits_for_checks(self) -> bool:
        """True while the health depends on Consul's answers."""
        return self.tracker is not None and bool(self._ours)

    async def run(self, previous: asyncio.Event | None) -> None:
        """Run to the end; ``previous`` is the end of the instance whose place this one takes."""
        try:
            if previous is not None and not previous.is_set():
                await self._unless_stopped(previous.wait())
            if not self._stopping.is_set():
                self.directories.make(list(self.tasks))
                self._begin(self._register())
                self._begin(self.native.run(self.over))
            await self._run_tasks()
        except Exception:  # noqa: BLE001 - whatever it was, the allocation has failed
            _LOG.exception("allocation %s", self.alloc["ID"])
            for task in self.tasks.values():
                task.state.finished(failed=True)
        finally:
            await self._deregister()
            # An agent that ends does so when all is over, and then nothing of it may be left.
            for task in self._started:
                if task.dead.is_set():
                    await task.gone.wait()
            for one in self._side:
                one.cancel()
            self.over.set()
            self._changed(self)

    async def stop(self, *, hurry: bool = False) -> None:
        """End it in good order: out of Consul first, then the delay, the tasks, and what runs beside them.

        In a ``hurry`` nobody is waited for who might still send requests.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        await self._deregister()
        delay = seconds(self.group.get("ShutdownDelay"))
        if hurry:
            for task in self.tasks.values():
                task.hurry = True
        elif delay and any(task.state.state == "running" for task in self.tasks.values()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), delay)
        self._leaving.set()
        await self._kill("Sent interrupt. Waiting before force killing")

    def update(self, alloc: Json) -> None:
        """Take over a newer version of the job that touches no task."""
        self.alloc = alloc
        self.group = group_of(alloc["Job"], alloc["TaskGroup"]) or self.group
        for task in self.tasks.values():
            task.environment.alloc = alloc
        self.judge_anew()
        if not self._stopping.is_set():
            self._begin(self._register())

    def checks(self, answers: Mapping[str, Mapping[str, str]]) -> list[bool]:
        """Which of the awaited checks pass, by Consul's ``answers``; one False while it does not know all of them."""
        if not self._ours:
            wanted = any(service["Provider"] == "consul" for service in self._all_services())
            return self.native.passing() if not wanted else [False]
        found = self.native.passing()
        for registered in self._ours.values():
            for service_id, check_ids in registered.expected.items():
                known = answers.get(service_id) or {}
                found += [known.get(check_id) == "passing" for check_id in check_ids]
        return found

    def look(self, answers: Mapping[str, Mapping[str, str]], now: float) -> float | None:
        """Judge the health; answers when to look again without news, None when there is nothing to wait for."""
        if self.tracker is None or self._stopping.is_set():
            return None
        lifecycles = {name: task.task["Lifecycle"] or {} for name, task in self.tasks.items()}
        found = self.tracker.look(self.states, lifecycles, self.checks(answers), now)
        if found.verdict is None:
            return found.wake
        self.health, self.tracker = found.verdict, None
        if found.reason:
            self.health_note = found.reason
            for task in self.tasks.values():
                if task.state.state != "dead":
                    task.state.note("Alloc Unhealthy", found.reason)
        self._changed(self)
        return None

    def task(self, name: str) -> TaskRunner:
        """A task by its name. Raises RefusedError."""
        found = self.tasks.get(name)
        if found is None:
            raise RefusedError(500, f"could not find task runner for task: {name}")
        return found

    async def restart(self, name: str) -> None:
        """Restart a task, or all that run. Raises RefusedError."""
        chosen = [self.task(name)] if name else [one for one in self.tasks.values() if one.running is not None]
        if name and chosen[0].running is None:
            raise RefusedError(500, "Task not running")
        for one in chosen:
            self._begin(one.restart())

    async def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a task, or to all. Raises RefusedError."""
        chosen = [self.task(name)] if name else list(self.tasks.values())
        sent = [await one.send(number) for one in chosen]
        if not any(sent):
            raise RefusedError(500, "Task not running")

    def log(self, task: str, kind: str) -> LogFile:
        """The output of a task. Raises RefusedError."""
        return log_of(self.group, self.directories, self.states, task, kind)

    def trim(self) -> None:
        """Give back the space of output that is not shown any more."""
        for name, task in self.tasks.items():
            for kind in ("stdout", "stderr"):
                LogFile.of(self.directories.logs, name, kind, task.task["LogConfig"]).trim()

    async def _run_tasks(self) -> None:
        by_hook: dict[str, list[TaskRunner]] = {"": [], "prestart": [], "poststart": [], "poststop": []}
        for task in self.tasks.values():
            by_hook.setdefault(task.hook, []).append(task)
        before = by_hook["prestart"]
        if not self._stopping.is_set():
            self._start(before)
            for task in before:
                await self._unless_stopped(task.up.wait() if task.sidecar else task.dead.wait())
        failed = any(task.state.failed for task in before)
        if not failed and not self._stopping.is_set():
            self._start(by_hook[""])
            for task in by_hook[""]:
                await self._unless_stopped(task.up.wait())
            self._start(by_hook["poststart"])
            await self._mains(by_hook[""])
        await self._kill("" if self._stopping.is_set() else "Main tasks in the group died")
        for task in self.tasks.values():
            if task.hook != "poststop" and task.state.state != "dead":
                # It never came to its turn.
                task.state.finished(failed=False)
        after = by_hook["poststop"]
        self._start(after)
        for task in after:
            await task.dead.wait()

    async def _mains(self, mains: list[TaskRunner]) -> None:
        """Until all main tasks are dead, one has failed, the leader has ended, or the whole is to stop."""
        waiting = {asyncio.ensure_future(task.dead.wait()): task for task in mains}
        stop = asyncio.ensure_future(self._leaving.wait())
        try:
            while waiting and not stop.done():
                done, _ = await asyncio.wait([*waiting, stop], return_when=asyncio.FIRST_COMPLETED)
                ended = [waiting.pop(one) for one in done if one is not stop]
                if any(task.state.failed or task.task["Leader"] for task in ended):
                    return
        finally:
            stop.cancel()
            for one in waiting:
                one.cancel()

    async def _kill(self, reason: str) -> None:
        """End the leader, then the other main tasks together, then what runs beside them."""
        rest = [
            task
            for task in self.tasks.values()
            if task.hook != "poststop" and not task.dead.is_set() and task in self._started
        ]
        leaders = [task for task in rest if task.task["Leader"]]
        mains = [task for task in rest if not task.hook and task not in leaders]
        beside = [task for task in rest if task.hook]
        for batch in (leaders, mains, beside):
            await asyncio.gather(*(task.kill(reason) for task in batch))

    def _start(self, tasks: list[TaskRunner]) -> None:
        for task in tasks:
            self._started.add(task)
            self._begin(task.run())

    def _begin(self, work: Any) -> None:
        one: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._side.add(one)
        one.add_done_callback(self._side.discard)

    async def _unless_stopped(self, event: Any) -> None:
        waits = [asyncio.ensure_future(event), asyncio.ensure_future(self._stopping.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()

    async def _prepare(self, environment: TaskEnvironment) -> None:
        consul = self._machine.consul
        if environment.task["Artifacts"] and not environment.fetched:
            await asyncio.to_thread(artifacts.fetch, environment.task, environment)
            environment.fetched = True
        if environment.task["Templates"] or environment.task["DispatchPayload"]:
            # Values may come from Consul, which is asked in a thread.
            await consul.run(lambda: templates.write(environment.task, environment, self._sources()))
        service = sidecar.service_of(environment.task, self.group)
        if service is not None:
            await self._registered.wait()
            file = self.directories.task(environment.task["Name"]) / "secrets" / "envoy_bootstrap.json"
            await sidecar.bootstrap(self.alloc, service, self._machine.mesh, file, environment.variables())

    async def _refresh(self, environment: TaskEnvironment) -> list[Json]:
        """Write anew what changed of a task's templates; a Consul that is away changes nothing."""
        try:
            return await self._machine.consul.run(
                lambda: templates.changes(environment.task, environment, self._sources())
            )
        except (templates.TemplateError, ConsulError, OSError) as error:
            _LOG.warning("templates of %s: %s", self.alloc["ID"][:8], error)
            return []

    def _sources(self) -> templates.Sources:
        """Values of one moment: each is asked for once."""
        consul = self._machine.consul
        return templates.Sources(
            functools.cache(consul.key),
            functools.cache(consul.instances),
            functools.cache(consul.service_names),
            lambda path: self._machine.variable(self.alloc["Namespace"], path),
        )

    def _fill(self, value: Any) -> Any:
        first = next(iter(self.tasks.values()))
        return first.environment.fill_all(value)

    def _all_services(self) -> list[Json]:
        inner = [service for task in self.group["Tasks"] for service in task["Services"] or ()]
        return [*(self.group["Services"] or ()), *inner]

    async def _register(self) -> None:
        """Register all services, as long as it takes: Consul may be away for a while."""
        wanted = services.registrations(self.alloc, self.group, self._fill)
        gone = set(self._ours) - {one.id for one in wanted}
        self._ours = {one.id: one for one in wanted}
        while wanted and not self._stopping.is_set():
            try:
                for one in wanted:
                    await self._machine.consul.register(one.body)
                for service_id in gone:
                    await self._machine.consul.deregister(service_id)
                break
            except ConsulError as error:
                _LOG.warning("services of %s: %s", self.alloc["ID"][:8], error)
                await asyncio.sleep(_CONSUL_AGAIN_SECONDS)
        self._registered.set()
        for one in wanted:
            for script in one.scripts:
                self._begin(self._check(script))

    async def _check(self, script: services.Script) -> None:
        """Run a script's check again and again as long as its service is registered."""
        while not self._stopping.is_set() and any(script in one.scripts for one in self._ours.values()):
            task = self.tasks.get(script.task)
            running = task.running if task else None
            if task is not None and running is not None:
                variables = task.environment.variables()
                command = tuple(task.environment.fill(part) for part in script.command)
                code, text = await running.execute(command, variables, script.timeout)
                status = {0: "passing", 1: "warning"}.get(code, "critical")
                with contextlib.suppress(ConsulError):
                    await self._machine.consul.report(script.check_id, status, text)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), script.interval)

    async def _deregister(self) -> None:
        ours, self._ours = self._ours, {}
        for service_id in ours:
            try:
                await self._machine.consul.deregister(service_id)
            except ConsulError as error:
                _LOG.warning("services of %s: %s", self.alloc["ID"][:8], error)


def log_of(group: Json, directories: Directories, states: Mapping[str, Json], task: str, kind: str) -> LogFile:
    """The output of a task. Raises RefusedError for a task that is not there or has not started."""
    known = next((one for one in group["Tasks"] if one["Name"] == task), None)
    if known is None:
        raise RefusedError(400, f'unknown task name "{task}"')
    if kind not in ("stdout", "stderr"):
        raise RefusedError(400, 'log type must be "stdout" or "stderr"')
    if (states.get(task) or {}).get("State", "pending") == "pending" and not (
        directories.logs / f"{task}.{kind}.0"
    ).exists():
        raise RefusedError(404, f'task "{task}" not started yet. No logs available')
    return LogFile.of(directories.logs, task, kind, known["LogConfig"])
