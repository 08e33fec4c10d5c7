"""Tasks as processes of this machine, which outlive the agent: each has a small shell beside it that notes its end.

The shell is the leader of a session. It starts the program, waits, and writes the exit code into a file; signals that
reach the whole group do not end it. Which try of the task a process is stands in the files' names, so that an agent
that was killed between starting and noting finds it again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from msgspec import Struct

from hms_nomad.dev.processes import ProcessId, alive, identify, send

# A shell cannot trap what was ignored before it began, as by nohup before ``dev up``.
_FOR_PROGRAMS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM)
# $0 is the file of the exit code, $1 that of the pid, $2 the directory, then the program. What that leaves
# behind ends with it.
_WATCH = (
    'trap : HUP INT QUIT TERM USR1 USR2; cd -- "$2" || exit; pid=$1; shift 2; '
    """sh -c 'echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$@"' "$pid" "$@"; code=$?; """
    'echo $code > "$0.new" && mv "$0.new" "$0"; kill -KILL 0'
)


class Ended(Struct, frozen=True):
    """How a task ended: its exit code, 128 and more for one that a signal ended; ``oom``: it had too little memory."""

    code: int
    signal: int = 0
    oom: bool = False


class Handle(Struct, frozen=True):
    """One try of a task: the watching shell, and the folder with its files."""

    watcher: ProcessId
    folder: Path
    attempt: int

    @property
    def exit_file(self) -> Path:
        """The file that holds the exit code once the program has ended."""
        return self.folder / f"exit.{self.attempt}"

    def running(self) -> bool:
        """True while the program runs."""
        return alive(self.watcher) and not self.exit_file.exists()

    def pid(self) -> int | None:
        """The program's own pid; None before it has started and after it has ended."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / f"pid.{self.attempt}").read_text(encoding="ascii"))
        return None

    def result(self) -> Ended | None:
        """How it ended; None while it runs. A watcher that was killed with its program leaves a signal."""
        with contextlib.suppress(OSError, ValueError):
            code = int(self.exit_file.read_text(encoding="ascii"))
            return Ended(code, code - 128 if code > 128 else 0)
        return None if alive(self.watcher) else Ended(128 + signal.SIGKILL, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the program alone; False when it has ended."""
        pid = self.pid()
        process = identify(pid) if pid is not None and self.running() else None
        return process is not None and send(process, number)

    def kill(self) -> None:
        """End everything that the task started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if alive(self.watcher):
                os.killpg(self.watcher.pid, signal.SIGKILL)

    def usage(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of memory of the program and its children."""
        pid = self.pid()
        if pid is None or not self.running():
            return 0.0, 0
        time_used, memory = 0.0, 0
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    spent = process.cpu_times()
                    time_used += spent.user + spent.system + spent.children_user + spent.children_system
                    memory += process.memory_info().rss
        return time_used, memory


class Command(Struct, frozen=True):
    """What is to run, where, with which variables, and where its output goes."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    stdout: Path
    stderr: Path


def start(command: Command, folder: Path, attempt: int) -> Handle:
    """Start a program under its watcher. Raises OSError when it cannot be started at all."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    exit_file, pid_file = folder / f"exit.{attempt}", folder / f"pid.{attempt}"
    (folder / f"watch.{attempt}").write_text("", encoding="ascii")
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _WATCH, str(exit_file), str(pid_file), str(command.directory), *command.arguments],
        dict(command.environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(command.stdout), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_OPEN, 2, str(command.stderr), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=_FOR_PROGRAMS,
    )
    watcher = identify(pid)
    (folder / f"watch.{attempt}").write_text(str(pid), encoding="ascii")
    return Handle(watcher or ProcessId(pid, 0, ""), folder, attempt)


def adopt(folder: Path, alloc_id: str) -> Handle | None:
    """The last try of a task that an earlier agent started; None when there was none.

    ``alloc_id`` stands in the environment of each of its processes: a pid that went to another program is not taken.
    """
    attempts = [int(file.suffix[1:]) for file in folder.glob("watch.*")]
    if not attempts:
        return None
    attempt = max(attempts)
    text = (folder / f"watch.{attempt}").read_text(encoding="ascii")
    pid = int(text) if text else _watcher_of(folder / f"pid.{attempt}")
    process = identify(pid) if pid else None
    if process is None or not _is_of(pid, alloc_id):
        process = ProcessId(pid, 0, "")
    return Handle(process, folder, attempt)


def _watcher_of(pid_file: Path) -> int:
    """The parent of a program whose start was not noted any more."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        return int(psutil.Process(int(pid_file.read_text(encoding="ascii"))).ppid())
    return 0


def _is_of(pid: int, alloc_id: str) -> bool:
    with contextlib.suppress(OSError):
        return f"NOMAD_ALLOC_ID={alloc_id}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False
