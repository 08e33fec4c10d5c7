"""The docker driver: a task is a container of the machine's engine, which outlives the agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from hms_nomad.dev.agent.container import definition
from hms_nomad.dev.agent.drivers import DriverError, Running
from hms_nomad.dev.agent.engine_calls import (
    EngineAwayError,
    GoneError,
    ask,
    ask_text,
    copy_output,
    ended_container,
    in_thread,
)
from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.log_files import output
from hms_nomad.dev.agent.runner_process import Ended
from hms_nomad.dev.agent.values import Json
from hms_nomad.dev.engine import Engine
from hms_nomad.spec.duration import seconds

_LOG = logging.getLogger(__name__)
_PULL_SECONDS = 600.0
_AGAIN_SECONDS = 1.0
_TIMED_OUT = 124
_NOT_STARTED = 127


class Container(Struct):
    """A task that is a container; ``over`` is done when it has ended and its output is in the task's files."""

    engine: Engine
    id: str
    attempt: int
    over: asyncio.Future[Ended]

    async def ended(self) -> Ended:
        """Wait for its end."""
        return await asyncio.shield(self.over)

    async def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has ended."""
        try:
            await ask(self.engine, "POST", f"/containers/{self.id}/kill?signal={number.name}")
        except DriverError:
            return False
        return True

    async def kill(self) -> None:
        """End it at once."""
        await self.send(signal.SIGKILL)

    async def usage(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of memory."""
        try:
            found = await ask(self.engine, "GET", f"/containers/{self.id}/stats?stream=false&one-shot=true")
        except DriverError:
            return 0.0, 0
        used = ((found.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0
        return used / 1e9, int((found.get("memory_stats") or {}).get("usage") or 0)

    async def execute(self, command: tuple[str, ...], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Run a command in the container, which has the task's variables already."""
        del environment
        try:
            body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, "Tty": True}
            made = await ask(self.engine, "POST", f"/containers/{self.id}/exec", body)
            path = f"/exec/{made['Id']}"
            text = await ask_text(self.engine, "POST", f"{path}/start", {"Tty": True}, seconds=seconds)
            state = await ask(self.engine, "GET", f"{path}/json")
        except EngineAwayError as error:
            return _TIMED_OUT, str(error)
        except DriverError as error:
            return _NOT_STARTED, str(error)
        return int(state.get("ExitCode") or 0), text


class DockerDriver:
    """Starts containers. Output goes through the engine's log of the container into the task's files."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, environment: TaskEnvironment, folder: Path, attempt: int) -> Running:
        """Start a task. Raises DriverError."""
        name = _name(environment)
        await self._remove(name)
        body = definition(environment)
        config = environment.task["Config"] or {}
        await self._pull(str(body["Image"]), config)
        made = await ask(self._engine, "POST", f"/containers/create?name={quote(name)}", body)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _place(folder).unlink(missing_ok=True)
        (folder / "container").write_text(f"{made['Id']} {attempt}", encoding="ascii")
        await ask(self._engine, "POST", f"/containers/{made['Id']}/start")
        return self._followed(made["Id"], environment, folder, attempt)

    async def adopt(self, environment: TaskEnvironment, folder: Path) -> Running | None:
        """What an earlier agent started of a task, or None."""
        try:
            container, _, attempt = (folder / "container").read_text(encoding="ascii").partition(" ")
            found = await ask(self._engine, "GET", f"/containers/{container}/json")
        except (OSError, DriverError):
            return None
        if found["State"]["Status"] == "created":
            return None
        return self._followed(container, environment, folder, int(attempt))

    async def clean(self, environment: TaskEnvironment, folder: Path) -> None:
        """Remove a dead task's container."""
        await self._remove(_name(environment))
        shutil.rmtree(folder, ignore_errors=True)

    async def _remove(self, name: str) -> None:
        try:
            await ask(self._engine, "DELETE", f"/containers/{name}?force=true&v=true")
        except GoneError:
            return
        except DriverError as error:
            _LOG.warning("container %s: %s", name, error)

    async def _pull(self, image: str, config: Json) -> None:
        try:
            patience = seconds(config["image_pull_timeout"]) if config.get("image_pull_timeout") else _PULL_SECONDS
        except ValueError as error:
            raise DriverError(f"image_pull_timeout: {error}") from None
        if not config.get("force_pull"):
            with contextlib.suppress(GoneError):
                await ask(self._engine, "GET", f"/images/{quote(image, safe='')}/json")
                return
        path = f"/images/create?fromImage={quote(image, safe='')}"
        try:
            said = await ask_text(self._engine, "POST", path, seconds=patience)
        except DriverError as error:
            raise DriverError(f"Failed to pull `{image}`: {error}") from None
        lines = [json.loads(line) for line in said.splitlines() if line.strip()]
        trouble = next((line["error"] for line in lines if "error" in line), "")
        if trouble:
            raise DriverError(f"Failed to pull `{image}`: {trouble}")

    def _followed(self, container: str, environment: TaskEnvironment, folder: Path, attempt: int) -> Container:
        logs, task = environment.directories.logs, environment.task["Name"]
        stdout, stderr = output(logs, task, "stdout"), output(logs, task, "stderr")
        over = in_thread(
            lambda: _until_over(self._engine, container, stdout, stderr, _place(folder)), f"container {container[:12]}"
        )
        return Container(self._engine, container, attempt, over)


def _until_over(engine: Engine, container: str, stdout: Path, stderr: Path, place: Path) -> Ended:
    """Copy a container's output until it has ended; an engine that is away is waited for."""
    while True:
        try:
            copy_output(engine, container, stdout, stderr, place)
            state = ended_container(engine, container)
            # What it said between the end of the copying and its own.
            copy_output(engine, container, stdout, stderr, place)
        except GoneError:
            return Ended(128 + signal.SIGKILL, signal.SIGKILL)
        except DriverError as error:
            _LOG.warning("container %s: %s", container[:12], error)
            time.sleep(_AGAIN_SECONDS)
            continue
        code = int(state.get("ExitCode") or 0)
        return Ended(code, code - 128 if code > 128 else 0, oom=bool(state.get("OOMKilled")))


def _place(folder: Path) -> Path:
    """The file that says up to where a container's output was copied."""
    return folder / "copied"


def _name(environment: TaskEnvironment) -> str:
    return f"{environment.task['Name']}-{environment.alloc['ID']}"
