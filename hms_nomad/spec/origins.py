"""An examined file -> for each value of its spec, where the value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from msgspec import Struct

from hms_nomad.sections.section import Section
from hms_nomad.spec.diagnostics import Position
from hms_nomad.spec.document import Document, Path, spoken
from hms_nomad.spec.loader import Examined
from hms_nomad.spec.rules_security import looks_secret


class OriginKind(StrEnum):
    """What gave a value."""

    FILE = "file"
    DEFAULT = "default"
    ENVIRONMENT = "environment"
    VARIABLE = "variable"


class Origin(Struct, frozen=True):
    """One value of a spec.

    ``position`` is where it stands (None for a default); ``detail`` names the environment, or the variables and what
    gave them their values. Values that look like secrets are replaced by "(not shown)".
    """

    path: str
    value: Any
    kind: OriginKind
    position: Position | None
    detail: str = ""

    def __str__(self) -> str:
        where = f"{self.kind} {self.detail}".strip() if self.kind is not OriginKind.FILE else ""
        place = str(self.position) if self.position else ""
        return f"{self.path} = {_shown(self.value)}  ({', '.join(part for part in (place, where) if part)})"


def origins(examined: Examined) -> tuple[Origin, ...]:
    """Where each value of an examined file's spec comes from, in the order of the fields. Empty without a spec."""
    if examined.spec is None:
        return ()
    return tuple(_origin(examined, path, value) for path, value in _as_written(examined))


def _as_written(examined: Examined) -> Iterator[tuple[Path, Any]]:
    """The values of the spec; what was read from a source is shown as that source."""
    for path, value in _leaves(examined.spec, ()):
        if path[-1] == "content" and _given(examined.document, (*path[:-1], "source")):
            continue
        if path[-1] == "source" and value is None and _given(examined.document, path):
            value = _at(examined.document.data, path)  # noqa: PLW2901
        yield path, value


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every value that has no parts; an empty section, list or mapping is one too."""
    if isinstance(value, Section):
        for name in value.__struct_fields__:
            yield from _leaves(getattr(value, name), (*path, name))
    elif isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(part, (*path, name))
    elif isinstance(value, list | tuple) and value:
        for index, part in enumerate(value):
            yield from _leaves(part, (*path, index))
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def _origin(examined: Examined, path: Path, value: Any) -> Origin:
    document = examined.document
    shown = "(not shown)" if path[0] == "env" and looks_secret(str(path[-1]), str(value)) else value
    given = _given(document, path)
    if given is None:
        return Origin(spoken(path), shown, OriginKind.DEFAULT, None)
    mark = document.mark(given)
    place = Position(examined.file, mark.line, mark.column)
    if names := document.references.get(given):
        detail = "; ".join(_variable(examined, name) for name in names)
        return Origin(spoken(path), shown, OriginKind.VARIABLE, place, detail)
    there = document.origin(given)
    if there[0] == "environments" and there != given:
        return Origin(spoken(path), shown, OriginKind.ENVIRONMENT, place, str(there[1]))
    return Origin(spoken(path), shown, OriginKind.FILE, place)


def _given(document: Document, path: Path) -> Path | None:
    """The path if the document has a value there; a whole list that is a default has none."""
    return None if _at(document.data, path) is None else path


def _at(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _variable(examined: Examined, name: str) -> str:
    value = examined.values[name]
    if value.given_by == "command line":
        return f"{name} from --var"
    mark = examined.document.mark(value.path)
    return f"{name} by {value.given_by} at {Position(examined.file, mark.line, mark.column)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "(none)"
    text = str(value) if not isinstance(value, list | dict) or value else "(none)"
    return text if text.isprintable() else repr(text)
