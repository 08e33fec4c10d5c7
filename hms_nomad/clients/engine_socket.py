"""HTTP over the socket of a container engine of this machine: Docker's, or Podman's, which speaks the same language."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock")
_SECONDS = 60.0


class EngineConnection(http.client.HTTPConnection):
    """A connection to the engine at a socket; ``seconds`` bounds each wait for its next bytes."""

    def __init__(self, path: Path, seconds: float = _SECONDS) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Open the socket (called by the library before the first request)."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def engine_sockets() -> Iterator[Path]:
    """Where an engine may listen: DOCKER_HOST alone where it is set, else the usual places."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        yield Path(host.removeprefix("unix://"))
    elif not host:
        yield from (Path(name) for name in _SOCKETS)
        if folder := os.environ.get("XDG_RUNTIME_DIR"):
            yield Path(folder, "podman", "podman.sock")
