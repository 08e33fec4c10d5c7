"""Tasks' drivers: raw_exec and exec start processes of this machine, docker starts containers."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from hms_nomad.dev.agent import runner_process
from hms_nomad.dev.agent.environment import TaskEnvironment
from hms_nomad.dev.agent.log_files import output
from hms_nomad.dev.agent.runner_process import Command, Ended, Handle
from hms_nomad.dev.agent.values import Json
from hms_nomad.dev.processes import wait_for_exit

_POLL_SECONDS = 0.2


class DriverError(Exception):
    """A task could not be started; the text says why."""


def known_settings(config: Json, known: Collection[str]) -> None:
    """Refuse what a driver here does not know: nothing of a job is left out silently. Raises DriverError."""
    if unknown := sorted(name for name, value in config.items() if value and name not in known):
        raise DriverError(f"the embedded agent knows no {' and no '.join(unknown)} in a task's config")


class Running(Protocol):
    """One try of a task that was started."""

    attempt: int

    async def ended(self) -> Ended:
        """Wait for its end."""

    async def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has ended."""

    async def kill(self) -> None:
        """End it and everything that it started, at once."""

    async def usage(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of memory."""

    async def execute(self, command: tuple[str, ...], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Run a command beside it; answers its exit code and output."""


class Driver(Protocol):
    """Starts tasks of one kind."""

    async def start(self, environment: TaskEnvironment, folder: Path, attempt: int) -> Running:
        """Start a task. Raises DriverError."""

    async def adopt(self, environment: TaskEnvironment, folder: Path) -> Running | None:
        """What an earlier agent started of a task, or None."""

    async def clean(self, environment: TaskEnvironment, folder: Path) -> None:
        """Remove what is left of a task that is dead."""


class Process:
    """A task that is a process."""

    def __init__(self, handle: Handle, environment: TaskEnvironment) -> None:
        self._handle, self._environment = handle, environment
        self.attempt = handle.attempt

    async def ended(self) -> Ended:
        """Wait for its end."""
        loop = asyncio.get_running_loop()
        while True:
            found = self._handle.result()
            if found is not None:
                return found
            try:
                descriptor = os.pidfd_open(self._handle.watcher.pid)
            except OSError:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            over = asyncio.Event()
            loop.add_reader(descriptor, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
            # Collects the ended child.
            wait_for_exit(self._handle.watcher, 0)

    async def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has ended."""
        return self._handle.signal(number)

    async def kill(self) -> None:
        """End it and everything that it started, at once."""
        self._handle.kill()

    async def usage(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of memory."""
        return self._handle.usage()

    async def execute(self, command: tuple[str, ...], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Run a command in the task's directory with its variables."""
        folder = self._environment.directories.task(self._environment.task["Name"])
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            return 127, str(error)
        try:
            out, _ = await asyncio.wait_for(process.communicate(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
            return 124, f"Timed out running check ({seconds:g}s)"
        return process.returncode or 0, out.decode("utf-8", "replace")


class ProcessDriver:
    """raw_exec, and exec, which here has no chroot and no user of its own."""

    async def start(self, environment: TaskEnvironment, folder: Path, attempt: int) -> Running:
        """Start a task. Raises DriverError."""
        task, directories = environment.task, environment.directories
        config = environment.fill_all(task["Config"] or {})
        known_settings(config, ("command", "args"))
        _check_user(task["User"])
        variables = environment.variables()
        directory = directories.task(task["Name"])
        program = _find(str(config.get("command") or ""), directory, variables.get("PATH") or os.defpath)
        command = Command(
            arguments=[program, *map(str, config.get("args") or ())],
            environment=variables,
            directory=directory,
            stdout=output(directories.logs, task["Name"], "stdout"),
            stderr=output(directories.logs, task["Name"], "stderr"),
        )
        try:
            handle = runner_process.start(command, folder, attempt)
        except OSError as error:
            raise DriverError(f"failed to launch command with executor: {error}") from None
        return Process(handle, environment)

    async def adopt(self, environment: TaskEnvironment, folder: Path) -> Running | None:
        """What an earlier agent started of a task, or None."""
        handle = runner_process.adopt(folder, environment.alloc["ID"])
        return Process(handle, environment) if handle else None

    async def clean(self, environment: TaskEnvironment, folder: Path) -> None:
        """Remove the files by which a dead task was known."""
        del environment
        shutil.rmtree(folder, ignore_errors=True)


def _check_user(name: str) -> None:
    """Whoever wants root is content with a process that may do what the agent may, as the gateway on a high port is."""
    own = getpass.getuser()
    if name not in ("", "root", own):
        raise DriverError(f"the embedded agent runs processes as {own}, who started it, and not as {name}")


def _find(name: str, directory: Path, path: str) -> str:
    """A task's program: in its own directory, or on the PATH."""
    if not name:
        raise DriverError("missing command for the driver: Config has no command")
    for candidate in (directory / name, directory / "local" / name):
        if not name.startswith("/") and candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which(name, path=path)
    if found is None:
        raise DriverError(f'failed to launch command with executor: executable file not found in $PATH: "{name}"')
    return found
