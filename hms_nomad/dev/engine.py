"""The container engine on this machine, as far as a stack needs it: one image in, containers by label out.

Speaks the Docker Engine API over its socket (https://docs.docker.com/reference/api/engine/), as Nomad's own driver
does, so that no command line of an engine has to be there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct

from hms_nomad.clients.engine_socket import EngineConnection, engine_sockets
from hms_nomad.dev.errors import StackError

ALLOCATION_LABEL = "com.hashicorp.nomad.alloc_id"
"""Label that Nomad's docker driver writes on every container, the pause container too."""


class Container(Struct, frozen=True):
    """A container, running or not; ``allocation`` is the Nomad allocation on its label."""

    id: str
    name: str
    allocation: str


class Engine(Struct, frozen=True):
    """A reachable engine: its socket and its version."""

    socket: Path
    version: str


def find_engine() -> Engine | None:
    """The engine behind DOCKER_HOST or the usual socket, or None when none answers."""
    for path in engine_sockets():
        with contextlib.suppress(OSError, StackError, http.client.HTTPException):
            body = _call(path, "GET", "/version")
            return Engine(path, str(body.get("Version") or "of unknown version"))
    return None


def has_image(engine: Engine, image: str) -> bool:
    """True when the engine holds this image."""
    return _call(engine.socket, "GET", f"/images/{quote(image, safe='')}/json", absent=True) is not None


def build_image(engine: Engine, image: str, context: bytes) -> None:
    """Build an image of a tar archive with a Dockerfile and what it copies; nothing is pulled for FROM scratch."""
    query = urlencode({"t": image, "forcerm": "true"})
    answer = _call(engine.socket, "POST", f"/build?{query}", context)
    if not has_image(engine, image):
        reason = answer.get("error", "no reason given")
        raise StackError(f"the container engine cannot build {image}: {reason}", "look at the engine's log")


def remove_image(engine: Engine, image: str) -> bool:
    """Remove an image; False when it was not there."""
    return _call(engine.socket, "DELETE", f"/images/{quote(image, safe='')}?force=true", absent=True) is not None


def allocation_containers(engine: Engine) -> tuple[Container, ...]:
    """Every container that some Nomad made."""
    query = urlencode({"all": "true", "filters": json.dumps({"label": [ALLOCATION_LABEL]})})
    rows = _call(engine.socket, "GET", f"/containers/json?{query}")
    return tuple(
        Container(id=row["Id"], name=row["Names"][0].lstrip("/"), allocation=row["Labels"].get(ALLOCATION_LABEL, ""))
        for row in rows
    )


def remove_container(engine: Engine, container: Container) -> None:
    """Kill and remove a container with its anonymous volumes; one that is gone is no error."""
    _call(engine.socket, "DELETE", f"/containers/{container.id}?force=true&v=true", absent=True)


def _call(path: Path, method: str, url: str, body: bytes | None = None, *, absent: bool = False) -> Any:
    """One call; its JSON, {} for an empty answer, None for 404 where ``absent`` is an ordinary answer."""
    headers: Mapping[str, str] = {"Content-Type": "application/x-tar"} if body is not None else {}
    with contextlib.closing(EngineConnection(path)) as connection:
        connection.request(method, url, body=body, headers=dict(headers))
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    if response.status == http.HTTPStatus.NOT_FOUND and absent:
        return None
    what = f"{method} {url.partition('?')[0]}"
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise StackError(f"the container engine at {path} refuses {what}: {text.strip()}")
    try:
        # Progress comes as one JSON document a line.
        return json.loads(text.splitlines()[-1]) if text.strip() else {}
    except ValueError:
        raise StackError(f"the container engine at {path} answers no JSON to {what}") from None
