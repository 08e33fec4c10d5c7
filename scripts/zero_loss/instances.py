"""An instance of the service in ``app.py`` -> the same one killed, frozen, slow, or answering errors."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

APP, SIDECAR = "app.py", "envoy"


def killed(allocation: str, *, whole: bool = False) -> None:
    """Kill an instance's program, and with ``whole`` its sidecar too; Nomad starts both anew."""
    for process in _processes(allocation, whole=whole):
        process.kill()


@contextlib.contextmanager
def frozen(allocation: str, *, whole: bool = False) -> Iterator[None]:
    """Stop an instance's program where it is, and with ``whole`` its sidecar too, while the block runs."""
    stopped = _processes(allocation, whole=whole)
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def answering(allocation: str, words: str) -> Iterator[None]:
    """While the block runs an instance does what ``app.py`` reads in its file: "sleep 3" or "status 503"."""
    (program,) = _processes(allocation)
    # The file is where the program itself sees it, in a directory of its own under exec.
    file = Path(f"/proc/{program.pid}/root{program.environ()['NOMAD_TASK_DIR']}/fault")
    file.write_text(words, encoding="ascii")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _processes(allocation: str, *, whole: bool = False) -> list[psutil.Process]:
    """The program of an instance, and with ``whole`` its sidecar."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if process.environ().get("NOMAD_ALLOC_ID") != allocation:
                continue
            # The embedded agent has a shell beside each program, which has the program's words too.
            own = process.name() != "sh" and any(word.endswith(APP) for word in process.cmdline())
            if own or (whole and process.name() == SIDECAR):
                found.append(process)
    if not found:
        raise SystemExit(f"nothing of {allocation} runs on this machine")
    return found
