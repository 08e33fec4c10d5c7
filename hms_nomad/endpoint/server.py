"""Platform and an address -> the registry over HTTP, until a signal ends it."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn

from hms_nomad.endpoint.app import RegistryApp
from hms_nomad.endpoint.mirror import Mirror
from hms_nomad.registry import Registry
from hms_nomad.workflows.session import Session

_GRACE_SECONDS = 3
_IDLE_SECONDS = 30
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """The socket that answers; port 0 takes a free one. Raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def serve(session: Session, listener: socket.socket) -> None:
    """Answer on ``listener`` until SIGINT or SIGTERM, which reaches the caller as KeyboardInterrupt when all is over.

    ``session`` should not try calls again by itself, so that an answer that cannot be renewed says so at once.
    """
    app = RegistryApp(Mirror(Registry(session), session.consul))
    config = uvicorn.Config(
        app.asgi(),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, app).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Sends those home who wait for news, before it waits for the end of their requests."""

    def __init__(self, config: uvicorn.Config, app: RegistryApp) -> None:
        super().__init__(config)
        self._registry = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What uvicorn does at a signal, and the application's part."""
        super().handle_exit(sig, frame)
        self._registry.close()
