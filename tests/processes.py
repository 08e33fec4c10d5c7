"""A command -> a running server of ours, ended by its process id together with everything that it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_TICK_SECONDS = 0.05
_LIBC = ctypes.CDLL(None)
_GIVEN: set[int] = set()


@dataclass(frozen=True, slots=True)
class Server:
    """A server process; ``log`` is the file that holds its output."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Ask ``ready`` until it is true. Raises AssertionError when the server ends or 60 seconds pass."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                state = f"ended with {self.process.returncode}" if ended else f"is not {what} in time"
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
                raise AssertionError(f"{self.process.args!r} {state}:\n{tail}")
            time.sleep(_TICK_SECONDS)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, the server neither answers nor closes a connection: SIGSTOP, then SIGCONT."""
        self.process.send_signal(signal.SIGSTOP)
        # The signal only begins to stop the threads.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running(command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run ``command`` in ``directory`` with nothing of our own environment but PATH and HOME; end it afterwards.

    ``directory`` is the server's own: what else runs or is mounted there afterwards is ended and unmounted too.
    """
    log = directory / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env={"PATH": os.environ["PATH"], "HOME": str(directory), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_us,  # noqa: PLW1509 - one system call, and no lock is taken
        )
    try:
        yield Server(process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _clear(directory)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now.

    It is neither one of the ports that the system gives to outgoing connections nor one that Nomad gives to tasks, so
    that nobody takes it before the server does; and no port is given twice, because a server binds its own one later.
    """
    while True:
        port = random.randint(10000, 19999)  # noqa: S311 - guards nothing
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port


def accepts(port: int) -> bool:
    """True when something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_with_us() -> None:
    """Have the kernel end the server when the test run is killed (PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGTERM)


def _clear(directory: Path) -> None:
    """End and unmount what a server left in its directory: Nomad's tasks outlive an agent that ends in their midst."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(directory) in argument for argument in process.cmdline()):
                for child in process.children(recursive=True):
                    child.kill()
                process.kill()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", mount], check=False, timeout=30)
