"""``python -m hms_nomad.dev.agent FILE``: the agent, with the settings in a file of JSON, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from hms_nomad.dev.agent.app import application
from hms_nomad.dev.agent.core import AgentSettings, Core

_GRACE_SECONDS = 2
_BACKLOG = 512


def main(arguments: list[str]) -> int:
    """Run the agent; answers the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = AgentSettings.read(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    # Each running task is watched by a descriptor of its own.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    listener = socket.create_server((settings.host, settings.port), backlog=_BACKLOG)
    asyncio.run(_serve(settings, listener))
    return 0


async def _serve(settings: AgentSettings, listener: socket.socket) -> None:
    core = Core(settings)
    config = uvicorn.Config(
        application(core),
        log_level="warning",
        access_log=False,
        server_header=False,
        # Whoever asks for a WebSocket is told like everybody else that the path is not known.
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()
    # A request to end takes every task along in good order; a crash leaves them to the next agent.
    loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(_drain(core, server)))
    await server.serve(sockets=[listener])


async def _drain(core: Core, server: uvicorn.Server) -> None:
    core.scheduler.halt()
    await core.client.stop_all()
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
