"""Programs -> processes that outlive the command, known again by pid, start time and boot, so no other one is hit."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil
from msgspec import Struct

STACK_VARIABLE = "HMS_NOMAD_STACK"
"""Environment variable by which every process of a stack names the stack's state directory."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STARTED_FIELD = 19
_AFTER_KILL_SECONDS = 5.0


class ProcessId(Struct, frozen=True):
    """One process: ``started`` is its start in clock ticks since the boot with the id ``boot``."""

    pid: int
    started: int
    boot: str


def spawn(arguments: Sequence[str], environment: Mapping[str, str], directory: Path, log_file: Path) -> ProcessId:
    """Start a program in a session of its own, in ``directory``, with its output appended to ``log_file`` (0600).

    Raises OSError when it cannot be started. A program that ends at once is seen by ``alive``.
    """
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            # A spawned process starts where we are; the shell changes that and becomes the program.
            ["sh", "-c", 'cd -- "$0" && exec "$@"', str(directory), *arguments],
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGTERM),
        )
    finally:
        os.close(log)
    _, started = _stat(pid) or ("", 0)
    return ProcessId(pid, started, _boot())


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now, or None."""
    found = _stat(pid)
    return ProcessId(pid, found[1], _boot()) if found else None


def alive(process: ProcessId) -> bool:
    """True while exactly this process runs; an ended child of ours is collected on the way."""
    if process.boot != _boot():
        return False
    found = _stat(process.pid)
    if found is None or found[1] != process.started:
        return False
    if found[0] in "ZX":
        _collect(process.pid)
        return False
    return True


def wait_for_exit(process: ProcessId, seconds: float) -> bool:
    """Wait until the process has ended, at most ``seconds``; True when it has."""
    handle = _handle(process)
    if handle is None:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)
    finally:
        os.close(handle)
    return not alive(process)


def stop(processes: Iterable[ProcessId], seconds: float) -> tuple[ProcessId, ...]:
    """End processes: SIGTERM, up to ``seconds`` of patience for all together, then SIGKILL; answers who needed that."""
    running = [process for process in processes if send(process, signal.SIGTERM)]
    deadline = time.monotonic() + seconds
    stubborn = [process for process in running if not wait_for_exit(process, deadline - time.monotonic())]
    for process in stubborn:
        send(process, signal.SIGKILL)
    for process in stubborn:
        wait_for_exit(process, _AFTER_KILL_SECONDS)
    return tuple(stubborn)


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it has ended already."""
    handle = _handle(process)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def of_stack(state_dir: Path, allocations: frozenset[str]) -> tuple[ProcessId, ...]:
    """Every process of a stack: with its mark in the environment, or in the control group of one of its allocations."""
    found = []
    for entry in psutil.process_iter():
        if entry.pid == os.getpid() or not (_marked(entry, state_dir) or _inside(entry.pid, allocations)):
            continue
        process = identify(entry.pid)
        if process is not None and alive(process):
            found.append(process)
    return tuple(found)


def _marked(entry: psutil.Process, state_dir: Path) -> bool:
    try:
        return entry.environ().get(STACK_VARIABLE) == str(state_dir)
    except (psutil.Error, OSError):
        return False


def another_runs(name: str) -> bool:
    """True when some process on this machine has this name, whoever started it."""
    return any(entry.info["name"] == name for entry in psutil.process_iter(["name"]))


def _inside(pid: int, allocations: frozenset[str]) -> bool:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    # Nomad names a task's group ALLOCATION.TASK, or ALLOCATION.TASK.scope.
    groups = {group.partition(".")[0] for line in lines for group in line.split("/")}
    return not groups.isdisjoint(allocations)


def _handle(process: ProcessId) -> int | None:
    """A handle that stays this process even when its pid is given to another one; None when it has ended."""
    if not alive(process):
        return None
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if alive(process):
        return handle
    os.close(handle)
    return None


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time; the program's name in front of them may contain anything (man 5 proc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[_STARTED_FIELD])


def _collect(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="utf-8").strip()
