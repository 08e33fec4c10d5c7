"""A directory with sources -> the draft of a spec that builds and runs them, as far as the sources tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hms_nomad.build.context import EPOCH, sources_in
from hms_nomad.build.errors import BuildError
from hms_nomad.build.language import detect, hints
from hms_nomad.workflows.init.draft import Draft, label_of

_PORT = 8080
_INSTANCES = {"min": 1, "max": 4}
_DOCKERFILE = "Dockerfile"


def draft_of_sources(directory: Path, name: str | None = None) -> Draft | None:
    """The draft for the sources in a directory; None when nothing tells what they are.

    The name is the directory's where none is given. Port, routes and health route are read from the program's text;
    what could not be found is listed in the draft.
    """
    try:
        sources = sources_in(directory, (), EPOCH)
    except BuildError:
        return None

    def read(path: str) -> bytes:
        file = sources.root / path
        return file.read_bytes() if file.is_file() else b""

    found = detect(sources.files, read)
    if found is None and _DOCKERFILE not in sources.files:
        return None
    service = name or label_of(sources.root.name)
    fields: dict[str, Any] = {"name": service, "version": "1.0.0", "image": service}
    told = hints(found, sources.files, read) if found else None
    left: list[str] = []
    build: dict[str, Any] = {}
    if found is not None and not found.entry and _DOCKERFILE not in sources.files:
        left.append(f"how the {found.language} service is started: say it in build.entry, as [program, argument]")
    fields["build"] = build
    fields["port"] = told.port if told and told.port else _PORT
    if not told or not told.port:
        left.append(f"its port: nothing tells it, so the service should listen on the variable PORT, here {_PORT}")
    health = told.health if told else ""
    paths = {path: methods for path, methods in (told.routes if told else {}).items() if path != health}
    if paths:
        fields["routes"] = [{"path": path, "methods": list(methods)} for path, methods in sorted(paths.items())]
    if health:
        fields["health"] = {"path": health}
    else:
        left.append("a health route: none was found; answer GET /health with 200, then write health: {path: /health}")
    fields["scaling"] = dict(_INSTANCES)
    return Draft(fields, tuple(left), "Not found in the sources")
