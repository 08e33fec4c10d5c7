"""A container engine of this machine: a build context goes in, images come out, by the Docker Engine API.

https://docs.docker.com/reference/api/engine/version/v1.41/; Podman answers the same calls. Where the engine prefers
BuildKit, or DOCKER_BUILDKIT=1 says so, that builds.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from msgspec import Struct

from hms_nomad.build.buildkit import Trace
from hms_nomad.build.errors import BuildError, NoEngineError
from hms_nomad.clients.credentials import Credentials
from hms_nomad.clients.engine_socket import EngineConnection, engine_sockets
from hms_nomad.spec.image import parse_image

_STEP_SECONDS = 1800.0
"""How long one step of a build may be silent."""

_LAST_LINES = 8
_HUB = {"docker.io": "https://index.docker.io/v1/"}
_BROKEN = (OSError, http.client.HTTPException)


class LocalImage(Struct, frozen=True):
    """An image that an engine holds: its id, and the digests by which registries know it ("NAME@sha256:...")."""

    id: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is asked to build: the image's name, and how (see ``hms_nomad.spec.model_build``).

    ``bases`` are the images to begin with, each with the credentials of its registry where some are known.
    """

    image: str
    dockerfile: str
    args: Mapping[str, str]
    labels: Mapping[str, str]
    target: str = ""
    platform: str = ""
    cache: bool = True
    bases: Mapping[str, Credentials | None] = field(default_factory=dict, repr=False)

    @property
    def credentials(self) -> Mapping[str, Credentials]:
        """The credentials by the names that engines look for: a registry's host, but an address for Docker's own."""
        known = {parse_image(base).registry: found for base, found in self.bases.items() if found}
        return {_HUB.get(host, host): found for host, found in known.items()}


class ContainerEngine(Struct, frozen=True):
    """An engine that answers: its socket, whether it is docker or podman, and the version that it says.

    ``buildkit`` says that BuildKit builds, not the engine's earlier builder.
    """

    socket: Path
    version: str
    name: str = "docker"
    buildkit: bool = False

    def image(self, name: str) -> LocalImage | None:
        """An image by its name or id; None when the engine has none."""
        body = self._json("GET", f"/images/{quote(name, safe='')}/json")
        return LocalImage(str(body["Id"]), tuple(body.get("RepoDigests") or ())) if body else None

    def asked(self) -> ContainerEngine:
        """The same engine with what it says of itself."""
        body = self._json("GET", "/version") or {}
        parts = [str(one.get("Name", "")) for one in body.get("Components") or ()]
        name = "podman" if any(part.lower().startswith("podman") for part in parts) else "docker"
        version = str(body.get("Version") or "of unknown version")
        return ContainerEngine(self.socket, version, name, name == "docker" and self._prefers_buildkit())

    @property
    def title(self) -> str:
        """What builds, for people and statements."""
        return f"{self.name} {self.version}{' with BuildKit' if self.buildkit else ''}"

    def build(self, order: Order, context: Path, said: Callable[[str], None]) -> str:
        """Build an image of the tar archive ``context``; ``said`` hears the engine's lines. Answers the image's id.

        Raises BuildError with the engine's last words.
        """
        query: dict[str, str] = {
            "t": order.image,
            "dockerfile": order.dockerfile,
            "buildargs": json.dumps(dict(order.args)),
            "labels": json.dumps(dict(order.labels)),
            "forcerm": "true",
        }
        query |= {"target": order.target} if order.target else {}
        query |= {"platform": order.platform} if order.platform else {}
        # Podman's cache does not tell platforms apart.
        cache = order.cache and not (order.platform and self.name == "podman")
        query |= {} if cache else {"nocache": "true"}
        headers = {"Content-Type": "application/x-tar", "Content-Length": str(context.stat().st_size)}
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            said(line)

        if self.buildkit:
            # It gets credentials, and the tokens of registries that are open to all, over a session only. So what it
            # begins with is fetched beforehand.
            query["version"] = "2"
            self._fetch_bases(order, say)
        elif order.credentials:
            headers["X-Registry-Config"] = _registry_config(order.credentials)
        trace = Trace()
        with context.open("rb") as body, self._answer("POST", f"/build?{urlencode(query)}", body, headers) as answer:
            for row in _rows(answer):
                for line in filter(None, (one.rstrip() for one in _lines(row, trace))):
                    say(line)
                if row.get("error"):
                    last = lines[-_LAST_LINES:]
                    raise BuildError(f"{order.image} cannot be built: {' | '.join(last)}{self._base_hint(order, last)}")
        found = self.image(order.image)
        if found is None:
            raise BuildError(f"{order.image} cannot be built: {' | '.join(lines[-_LAST_LINES:]) or 'no reason given'}")
        return found.id

    def _base_hint(self, order: Order, last: list[str]) -> str:
        """What would be right where the engine's last words are about a base image that it does not have."""
        for base in order.bases:
            if any(base in line for line in last) and self.image(base) is None:
                return (
                    f"; the engine has no base image {base}: let it reach the registry, or name a base that it has in "
                    "images.bases of the context or in a Dockerfile"
                )
        return ""

    def _prefers_buildkit(self) -> bool:
        """As Docker's own command decides it: by DOCKER_BUILDKIT, else by what the engine says it prefers."""
        asked = os.environ.get("DOCKER_BUILDKIT", "")
        if asked:
            return asked.lower() not in ("0", "false")
        with self._answer("GET", "/_ping") as answer:
            return answer.headers.get("Builder-Version") == "2"

    def _fetch_bases(self, order: Order, said: Callable[[str], None]) -> None:
        """Fetch what is not there. What cannot be had is said, no more: the stage may be none that is built."""
        for base, found in order.bases.items():
            if self.image(base) is not None:
                continue
            said(f"fetching {base}")
            try:
                self._fetch(base, found)
            except BuildError as error:
                said(f"{base} cannot be fetched: {error}")

    def _fetch(self, image: str, known: Credentials | None) -> None:
        parts = parse_image(image)
        # Without a tag the engine would fetch all that the registry has.
        wanted = image if parts.tag or parts.digest else f"{parts.name}:latest"
        headers = {"X-Registry-Auth": _encoded(_login(known))} if known else {}
        with self._answer("POST", f"/images/create?{urlencode({'fromImage': wanted})}", None, headers) as answer:
            for row in _rows(answer):
                if row.get("error"):
                    raise BuildError(str(row["error"]))

    def save(self, image: str, file: Path) -> None:
        """Write an image to a tar archive, in the form of ``docker save``."""
        with self._answer("GET", f"/images/{quote(image, safe='')}/get") as answer, file.open("wb") as stream:
            try:
                shutil.copyfileobj(answer, stream, 1024 * 1024)
            except OSError as error:
                raise BuildError(f"{image} cannot be taken out of the engine: {error.strerror or error}") from None

    def _json(self, method: str, url: str) -> Any:
        """The answer's JSON; None for what is not there."""
        try:
            with self._answer(method, url) as answer:
                return json.loads(answer.read())
        except _AbsentError:
            return None

    @contextlib.contextmanager
    def _answer(
        self, method: str, url: str, body: BinaryIO | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        what = f"{method} {url.partition('?')[0]}"
        with contextlib.closing(EngineConnection(self.socket, _STEP_SECONDS)) as connection:
            try:
                connection.request(method, url, body=body, headers=dict(headers or {}))
                answer = connection.getresponse()
            except _BROKEN as error:
                raise BuildError(f"the container engine at {self.socket} does not answer {what}: {error}") from None
            if answer.status == http.HTTPStatus.NOT_FOUND and method == "GET":
                raise _AbsentError(f"the container engine at {self.socket} has nothing at {what}")
            if answer.status >= http.HTTPStatus.BAD_REQUEST:
                reason = _reason(answer.read(65536))
                raise BuildError(f"the container engine at {self.socket} refuses {what}: {reason}")
            yield answer


class _AbsentError(BuildError):
    """The engine has no such thing."""


def find_engine() -> ContainerEngine | None:
    """The engine behind DOCKER_HOST or a usual socket, or None when none answers."""
    for path in engine_sockets():
        if not path.exists():
            continue
        with contextlib.suppress(BuildError, ValueError):
            return ContainerEngine(path, "").asked()
    return None


def need_engine() -> ContainerEngine:
    """The engine of this machine. Raises NoEngineError."""
    found = find_engine()
    if found is None:
        raise NoEngineError
    return found


def _lines(row: Mapping[str, Any], trace: Trace) -> Iterable[str]:
    if row.get("id") == "moby.buildkit.trace":
        return trace.lines(str(row.get("aux") or ""))
    return str(row.get("error") or row.get("stream") or row.get("status") or "").splitlines()


def _rows(answer: http.client.HTTPResponse) -> Iterator[Mapping[str, Any]]:
    """Progress comes as one JSON document a line."""
    try:
        for line in answer:
            if line.strip():
                yield json.loads(line)
    except _BROKEN as error:
        raise BuildError(f"the container engine broke off the build: {error}") from None
    except ValueError:
        raise BuildError("the container engine answers no JSON to a build") from None


def _reason(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split()) or "no reason given"


def _registry_config(credentials: Mapping[str, Credentials]) -> str:
    """Credentials for base images, for this build alone; they travel over the engine's socket and stay nowhere."""
    return _encoded({host: _login(one) for host, one in credentials.items()})


def _login(known: Credentials) -> dict[str, str]:
    return {"username": known.username, "password": known.password, "identitytoken": known.identity_token}


def _encoded(body: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(body).encode()).decode()
