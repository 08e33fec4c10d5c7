"""A Connect sidecar's task -> Envoy's bootstrap, made by Consul's own command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from hms_nomad.dev.agent import emulation
from hms_nomad.dev.agent.canonical import PROXY_PREFIX
from hms_nomad.dev.agent.placement import LOOPBACK
from hms_nomad.dev.agent.services import sidecar_id
from hms_nomad.dev.agent.values import Json

_TRIES = 5
_BETWEEN_SECONDS = 0.5
_SECONDS = 20.0


class BootstrapError(Exception):
    """Consul's command made no bootstrap; the text is its own."""


class Mesh(Struct, frozen=True):
    """How sidecars find Consul: its program, the URL of its API, and HOST:PORT of its gRPC."""

    program: str
    http: str
    grpc: str


def service_of(task: Json, group: Json) -> Json | None:
    """The service whose sidecar a task is, or None."""
    kind, _, name = (task["Kind"] or "").partition(":")
    if kind != PROXY_PREFIX:
        return None
    return next((service for service in group["Services"] or () if service["Name"] == name), None)


async def bootstrap(alloc: Json, service: Json, mesh: Mesh, file: Path, environment: Mapping[str, str]) -> None:
    """Write the bootstrap of a registered service's sidecar (0600). Raises BootstrapError."""
    admin = ((alloc.get("Embedded") or {}).get("Ports") or {}).get(emulation.admin_port(service["Name"]), 19001)
    arguments = [
        mesh.program,
        "connect",
        "envoy",
        "-bootstrap",
        "-ignore-envoy-compatibility",
        *("-http-addr", mesh.http),
        *("-grpc-addr", f"http://{mesh.grpc}"),
        *("-admin-bind", f"{LOOPBACK}:{admin}"),
        *("-proxy-id", sidecar_id(alloc, service)),
    ]
    kept = {name: value for name, value in environment.items() if not name.startswith("CONSUL_")}
    said = ""
    for _ in range(_TRIES):
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=kept
        )
        try:
            out, error = await asyncio.wait_for(process.communicate(), _SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            said = f"{mesh.program} did not answer within {_SECONDS:g} seconds"
            continue
        if process.returncode == 0:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(out)
            return
        said = error.decode("utf-8", "replace").strip()
        await asyncio.sleep(_BETWEEN_SECONDS)
    raise BootstrapError(f"error creating bootstrap configuration for Connect proxy sidecar: {said}")
