"""A server's program and configuration -> a running process, started only where it does not run already that way."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.clients.errors import ServerError
from hms_nomad.dev.binaries import Binary, search_path
from hms_nomad.dev.errors import ServerFailedError, UnsuitableMachineError
from hms_nomad.dev.processes import STACK_VARIABLE, alive, spawn, stop, wait_for_exit
from hms_nomad.dev.state import ServerRecord
from hms_nomad.platform.private import write_private

_LAST_LINES = 5
_STOP_SECONDS = 15.0
_BETWEEN_TRIES_SECONDS = 0.1
# A server and what it starts see nothing of the caller's shell but this: above all no proxies, no cloud settings and
# no addresses or tokens of other clusters.
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LOGNAME", "TMPDIR", "TZ", "USER")


class Server(Struct, frozen=True):
    """What one server is to be; ``arguments`` follow the program, ``config`` goes into ``config_file``.

    ``ca_file`` says who signed its certificate ("": it speaks plain http).
    """

    name: str
    binary: Binary
    address: str
    directory: Path
    arguments: tuple[str, ...]
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    ca_file: str = ""

    @property
    def config_file(self) -> Path:
        """The file with the server's configuration (JSON)."""
        return config_file(self.directory)

    @property
    def log_file(self) -> Path:
        """The file with everything that the server says."""
        return self.directory / f"{self.name}.log"

    @property
    def digest(self) -> str:
        """Changes with everything that needs a new start."""
        parts = [str(self.binary.path), self.binary.version, self.arguments, self.config, dict(self.environment)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def config_file(directory: Path) -> Path:
    """Where a server with this directory finds its configuration."""
    return directory / "config.json"


def environment(state_dir: Path, programs: Path) -> dict[str, str]:
    """The environment of a stack's servers: ``programs`` first on PATH, few variables, and the stack's mark."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    path = os.pathsep.join([str(programs), search_path()])
    return {**kept, "PATH": path, STACK_VARIABLE: str(state_dir)}


def ensure_started(server: Server, before: ServerRecord | None) -> tuple[ServerRecord, bool]:
    """Start a server, or leave it when it runs already as it should; the flag says whether it was started.

    One that runs with another configuration or program is stopped first. Raises UnsuitableMachineError when the
    program cannot be started.
    """
    if before is not None and alive(before.process):
        if before.config == server.digest:
            return before, False
        stop([before.process], _STOP_SECONDS)
    server.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(server.config_file, json.dumps(server.config, indent=2, sort_keys=True) + "\n")
    arguments = [str(server.binary.path), *server.arguments]
    try:
        process = spawn(arguments, server.environment, server.directory, server.log_file)
    except OSError as error:
        raise UnsuitableMachineError(
            f"{server.binary.path} cannot be started: {error.strerror}", "replace it by one for this machine"
        ) from None
    record = ServerRecord(
        name=server.name,
        binary=str(server.binary.path),
        version=server.binary.version,
        address=server.address,
        log_file=str(server.log_file),
        process=process,
        config=server.digest,
        ca_file=server.ca_file,
    )
    return record, True


def await_answer(server: ServerRecord, missing: Callable[[], str], deadline: float) -> None:
    """Ask ``missing`` again and again until it is empty; it says what the server still lacks.

    ``deadline`` is a value of ``time.monotonic()``. The end of the process ends the waiting at once. Raises
    ServerFailedError with the last lines of the log.
    """
    while True:
        try:
            lacks = missing()
        except ServerError as error:
            lacks = error.detail
        if not lacks:
            return
        remaining = deadline - time.monotonic()
        if wait_for_exit(server.process, min(_BETWEEN_TRIES_SECONDS, remaining)):
            raise failed(server, "ended")
        if remaining <= 0:
            raise failed(server, f"is not ready in time: {lacks}")


def failed(server: ServerRecord, how: str) -> ServerFailedError:
    """The error for a server, with its last words."""
    said = "".join(f"\n  {line}" for line in last_lines(Path(server.log_file)))
    return ServerFailedError(
        f"{server.name} {how}{'; it said last:' + said if said else ''}",
        f"see {server.log_file}",
        server.log_file,
    )


def last_lines(log_file: Path) -> tuple[str, ...]:
    """The last lines of a log; none where there is no log."""
    try:
        with log_file.open("rb") as stream:
            stream.seek(max(0, log_file.stat().st_size - 8192))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-_LAST_LINES:]
