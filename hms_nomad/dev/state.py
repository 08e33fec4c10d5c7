"""What a stack remembers between commands, in one file of its state directory, and the lock that guards it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.dev.errors import StackError, StackLockedError
from hms_nomad.dev.processes import ProcessId
from hms_nomad.platform.private import write_private

_FILE = "stack.json"
_FORMAT = 1


class ServerRecord(Struct, frozen=True):
    """A server as it was started last; ``config`` is a digest of its configuration and program.

    ``ca_file`` is the authority of its certificate, "" where it speaks plain http.
    """

    name: str
    binary: str
    version: str
    address: str
    log_file: str
    process: ProcessId
    config: str
    ca_file: str = ""


class StackRecord(Struct, frozen=True):
    """All that ``down`` must know. ``slot`` numbers the stack on this machine: interface, subnet and short directory.

    ``image`` is the container image that we made, ``context`` the context that we wrote, ``sidecar`` the driver that
    runs Envoy. A ``secure`` stack has access lists and TLS; ``nomad`` is "embedded" for our own agent.
    """

    name: str
    port_offset: int
    slot: int | None = None
    image: str = ""
    context: str = ""
    sidecar: str = ""
    docker: bool = False
    secure: bool = False
    nomad: str = ""
    servers: Mapping[str, ServerRecord] = msgspec.field(default_factory=dict)

    def with_server(self, server: ServerRecord) -> StackRecord:
        """The record with one server more, or anew."""
        return replace(self, servers={**self.servers, server.name: server})


def load(state_dir: Path) -> StackRecord | None:
    """What the stack remembers, or None where there is none. Raises StackError for a file that is not ours."""
    file = state_dir / _FILE
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        return _record(body)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StackError(
            f"{file} cannot be read as the state of a stack", "move the file away and run it again"
        ) from None


def save(state_dir: Path, record: StackRecord) -> None:
    """Write what the stack remembers (0600), whole or not at all."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    body = {"format": _FORMAT, **msgspec.to_builtins(record)}
    write_private(state_dir / _FILE, json.dumps(body, indent=2, sort_keys=True) + "\n")


@contextmanager
def locked(state_dir: Path, name: str) -> Iterator[None]:
    """Hold the stack for one command. Raises StackLockedError at once while another command holds it.

    The lock lies beside the state directory, so that ``down`` can remove that one whole, and goes with its holder.
    """
    file = state_dir.with_name(f".{state_dir.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    stream = _acquire(file, name)
    try:
        os.ftruncate(stream, 0)
        os.pwrite(stream, str(os.getpid()).encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(stream)


def _acquire(file: Path, name: str) -> int:
    while True:
        stream = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(stream, 20, 0).decode("ascii", "replace").strip()
            os.close(stream)
            pid = int(holder) if holder.isdigit() else 0
            raise StackLockedError(
                f"another command works on the stack {name}" + (f" (pid {pid})" if pid else ""),
                "wait until it has ended",
                pid,
            ) from None
        # The last holder may have removed the file between our opening and locking it: then ours guards nothing.
        if _is_file(file, stream):
            return stream
        os.close(stream)


def _is_file(file: Path, stream: int) -> bool:
    try:
        return file.stat().st_ino == os.fstat(stream).st_ino
    except FileNotFoundError:
        return False


def _record(body: Any) -> StackRecord:
    if body.pop("format") != _FORMAT:
        raise ValueError("another format")
    servers = {
        name: ServerRecord(**{**row, "process": ProcessId(**row["process"])})
        for name, row in body.pop("servers").items()
    }
    return StackRecord(**body, servers=servers)
