"""One task of one allocation, from its files to its end: started, watched, restarted, killed when told."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from hms_nomad.dev.agent.artifacts import ArtifactError
from hms_nomad.dev.agent.consul import ConsulError
from hms_nomad.dev.agent.drivers import Driver, DriverError, Running
from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.restarts import Decision, Restarts
from hms_nomad.dev.agent.runner_process import Ended
from hms_nomad.dev.agent.sidecar import BootstrapError
from hms_nomad.dev.agent.task_state import TaskState
from hms_nomad.dev.agent.templates import MissingError, TemplateError, is_changing
from hms_nomad.dev.agent.values import Clock, Json, duration_text, seconds

_AFTER_KILL_SECONDS = 10.0
_BETWEEN_REFRESHES_SECONDS = 2.0


class Files(Struct, frozen=True):
    """How a task's files are written before it starts, and what of its templates changed since."""

    prepare: Callable[[TaskEnvironment], Awaitable[None]]
    refresh: Callable[[TaskEnvironment], Awaitable[list[Json]]]


class TaskRunner:
    """Runs a task until it is dead."""

    def __init__(
        self,
        environment: TaskEnvironment,
        state: TaskState,
        driver: Driver,
        folder: Path,
        files: Files,
        clock: Clock,
    ) -> None:
        """``folder`` keeps what a later agent needs to find the task again."""
        self.environment, self.state = environment, state
        self.task: Json = environment.task
        self.name = str(self.task["Name"])
        self.running: Running | None = None
        self.up = asyncio.Event()
        # It has ended; and what it left behind, as its container, is away too.
        self.dead, self.gone = asyncio.Event(), asyncio.Event()
        self._driver, self._folder, self._files, self._clock = driver, folder, files, clock
        lifecycle = self.task["Lifecycle"] or {}
        self.hook, self.sidecar = lifecycle.get("Hook") or "", bool(lifecycle.get("Sidecar"))
        batch = environment.alloc["Job"]["Type"] in ("batch", "sysbatch")
        once = bool(self.hook) and not self.sidecar
        self._restarts = Restarts(self.task["RestartPolicy"], batch=batch and not self.sidecar, once=once)
        self._stopping = asyncio.Event()
        self.hurry = False
        self._again = False
        self._attempt = 0

    async def run(self) -> None:
        """Run until dead. Does not raise."""
        try:
            if self.state.state != "dead":
                await self._run()
        finally:
            self.up.set()
            self.dead.set()
            try:
                with contextlib.suppress(OSError):
                    await self._driver.clean(self.environment, self._folder)
            finally:
                self.gone.set()

    async def kill(self, reason: str = "") -> None:
        """Stop the task as its settings say, and wait until it is dead."""
        if self._stopping.is_set() or self.dead.is_set():
            await self.dead.wait()
            return
        if self.running is not None:
            delay = seconds(self.task["ShutdownDelay"])
            if delay and not self.hurry:
                self.state.note(
                    "Waiting for shutdown delay",
                    f"Waiting for shutdown_delay of {duration_text(self.task['ShutdownDelay'])}",
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.dead.wait(), delay)
        self._stopping.set()
        if reason:
            self.state.note("Killing", reason)
        await self._end()
        await self.dead.wait()

    async def restart(self) -> None:
        """End the task so that it starts again at once, whatever its policy says."""
        self.state.note("Restart Signaled", "User requested task to restart")
        self._again = True
        await self._end()

    async def send(self, number: signal.Signals) -> bool:
        """Send a signal to the task."""
        self.state.note("Signaling", f"Task being sent signal {number.name}")
        return self.running is not None and await self.running.send(number)

    async def _run(self) -> None:
        running = await self._driver.adopt(self.environment, self._folder)
        if running is not None:
            self._attempt = running.attempt
            if self.state.state == "pending":
                self.state.started()
        elif not self.state.body["Events"]:
            self.state.note("Received", "Task received by client")
            self.state.note("Task Setup", "Building Task Directory")
        while not self._stopping.is_set():
            if running is None:
                try:
                    running = await self._start()
                except DriverError as error:
                    self.state.note("Driver Failure", str(error), driver_error=str(error))
                except ArtifactError as error:
                    self.state.note("Failed Artifact Download", str(error), download_error=str(error))
                except (TemplateError, ConsulError, BootstrapError, OSError) as error:
                    self.state.note("Setup Failure", str(error), setup_error=str(error))
            if running is None:
                decision = self._restarts.after_exit(-1, self._clock())
            else:
                decision = await self._watch(running)
                running = None
            if self._stopping.is_set() or not decision.again:
                self._finish(decision)
                return
            await self._wait(decision)
        self._finish(Decision(again=False))

    async def _start(self) -> Running | None:
        """Start the task, or None when it is to stop before it has started."""
        if self.task["Artifacts"] and not self.environment.fetched:
            self.state.note("Downloading Artifacts", "Client is downloading artifacts")
        said = ""
        while True:
            try:
                await self._files.prepare(self.environment)
                break
            except MissingError as missing:
                # As Nomad does, it waits for what a template asks for.
                if said != str(missing):
                    said = str(missing)
                    self.state.note("Template", f"Missing: {said}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _BETWEEN_REFRESHES_SECONDS)
                if self._stopping.is_set():
                    return None
        self._attempt += 1
        running = await self._driver.start(self.environment, self._folder, self._attempt)
        self.state.started()
        return running

    async def _watch(self, running: Running) -> Decision:
        self.running = running
        self.up.set()
        if self._stopping.is_set():
            await self._end()
        watching = asyncio.ensure_future(self._keep_fresh(running)) if is_changing(self.task) else None
        try:
            ended = await running.ended()
        finally:
            if watching is not None:
                watching.cancel()
        self.running = None
        self._tell(ended)
        if self._again and not self._stopping.is_set():
            self._again = False
            return Decision(again=True, reason="")
        return self._restarts.after_exit(ended.code, self._clock())

    async def _keep_fresh(self, running: Running) -> None:
        """Write templates anew as their values change, and tell the task in the way that each of them wants."""
        while True:
            await asyncio.sleep(_BETWEEN_REFRESHES_SECONDS)
            changed = await self._files.refresh(self.environment)
            if any(template["ChangeMode"] == "restart" for template in changed):
                self.state.note("Restart Signaled", "Template with change_mode restart re-rendered")
                self._again = True
                await self._end()
                return
            for name in {one["ChangeSignal"] for one in changed if one["ChangeMode"] == "signal"}:
                self.state.note("Signaling", "Template re-rendered")
                await running.send(_signal(name))

    def _tell(self, ended: Ended) -> None:
        message = f"Exit Code: {ended.code}" + (f", Signal: {ended.signal}" if ended.signal else "")
        message += ', Exit Message: "OOM Killed"' if ended.oom else ""
        details = {"exit_code": str(ended.code), "signal": str(ended.signal), "oom_killed": str(ended.oom).lower()}
        self.state.note("Terminated", message, **details)

    def _finish(self, decision: Decision) -> None:
        killed = self._stopping.is_set()
        if killed:
            self.state.note("Killed", "Task successfully killed")
        elif decision.failed:
            self.state.note("Not Restarting", decision.reason, fails_task="true", restart_reason=decision.reason)
        self.state.finished(failed=decision.failed and not killed)

    async def _wait(self, decision: Decision) -> None:
        if decision.reason:
            self.state.note(
                "Restarting",
                f"Task restarting in {decision.delay:g}s",
                restart_reason=decision.reason,
                start_delay=str(int(decision.delay * 1e9)),
            )
        self.state.waiting()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), decision.delay)
        if not self._stopping.is_set():
            self.state.restarted()

    async def _end(self) -> None:
        """The kill signal, patience, then the end."""
        running = self.running
        if running is None:
            return
        timeout = seconds(self.task["KillTimeout"])
        number = _signal(self.task["KillSignal"] or ("SIGTERM" if self.task["Driver"] == "docker" else "SIGINT"))
        await running.send(number)
        try:
            await asyncio.wait_for(self._over(running), timeout)
        except TimeoutError:
            await running.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over(running), _AFTER_KILL_SECONDS)

    async def _over(self, running: Running) -> None:
        await running.ended()


def _signal(name: str) -> signal.Signals:
    return signal.Signals.__members__.get(name.upper(), signal.SIGINT)
