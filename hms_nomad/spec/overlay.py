"""A document with variables and environments -> the document of one environment, its references replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.sections.reading import MisfitError, read
from hms_nomad.sections.section import Section, field
from hms_nomad.spec.document import Document, Path, Problem, quoted
from hms_nomad.spec.forms import ServiceName
from hms_nomad.spec.model import Variable, VariableName
from hms_nomad.spec.selection import Selection
from hms_nomad.spec.variables import MARK, Value, referenced, replaced, values_of
from hms_nomad.spec.wording import worded

_OPEN = ("variables", "environments")
"""Keys of a file that are used up here: no Spec has them."""

_FIXED = ("name", "environments")
"""Keys that no environment may change."""


class _OpenPart(Section):
    variables: dict[VariableName, Variable] = field(default={}, max_length=200)
    environments: dict[ServiceName, dict[str, Any]] = field(default={}, max_length=10)


class Resolved(Struct, frozen=True):
    """A document without open parts, the values of its variables, and the names of the file's environments."""

    document: Document
    declared: Mapping[str, Variable] = msgspec.field(default_factory=dict)
    values: Mapping[str, Value] = msgspec.field(default_factory=dict)
    environments: tuple[str, ...] = ()


def resolve(document: Document, selection: Selection) -> Resolved:
    """The document that a selection leaves; what is wrong is added to the ``problems`` of the result."""
    data = document.data
    if not isinstance(data, dict):
        return Resolved(document)
    part, errors = _open_part(document)
    problems = [*document.problems, *errors]
    rest = {key: value for key, value in data.items() if key not in _OPEN}
    chosen = replace(document, data=rest, problems=problems, broken=set(document.broken), moved={})
    if part is None:
        chosen.broken |= {path for path, _ in referenced(rest)}
        return Resolved(chosen)
    overlay = _overlay(part, selection, document, problems)
    _lay(rest, overlay, (), ("environments", selection.environment or ""), chosen)
    values, misfits = values_of(part.variables, _given(overlay), selection, document)
    problems += misfits
    known = {path for path in chosen.broken if path[:1] == ("variables",)}
    chosen.data, chosen.references, missing = replaced(chosen, part.variables, values)
    problems += missing
    problems += _unused(part, data, document) if not known else ()
    usable = {name: value for name, value in values.items() if value is not None}
    return Resolved(chosen, part.variables, usable, tuple(part.environments))


def _open_part(document: Document) -> tuple[_OpenPart | None, list[Problem]]:
    """The declarations, or what is wrong with them."""
    given = {key: document.data[key] for key in _OPEN if key in document.data}
    if any(path[:1] == (key,) for path in document.broken for key in _OPEN):
        return None, []
    try:
        return read(_OpenPart, given), []
    except MisfitError as error:
        return None, [worded(one, document) for one in error.misfits]


def _overlay(part: _OpenPart, selection: Selection, document: Document, problems: list[Problem]) -> dict[str, Any]:
    name = selection.environment
    if name is None:
        return {}
    if name not in part.environments:
        if not selection.lenient:
            problems.append(unknown_environment(name, part.environments, document))
        return {}
    overlay = dict(part.environments[name])
    for key in _FIXED:
        if overlay.pop(key, None) is not None:
            mark = document.mark(("environments", name, key), key=True)
            problems.append(Problem("HMS115", mark, f"an environment cannot change {key}", "remove it"))
    if not isinstance(overlay.get("variables", {}), dict):
        mark = document.mark(("environments", name, "variables"))
        problems.append(
            Problem("HMS115", mark, f"environments.{name}.variables must be a mapping", "write NAME: value")
        )
        del overlay["variables"]
    return overlay


def unknown_environment(name: str, known: Mapping[str, Any], document: Document) -> Problem:
    """The refusal of an environment that the file does not have."""
    near = get_close_matches(name[:63], known, 1, 0.6)
    others = ", ".join(known)
    fix = f"did you mean {near[0]}?" if near else f"there is {others}" if known else "declare it below environments"
    return Problem("HMS110", document.mark(("environments",), key=True), f"there is no environment {quoted(name)}", fix)


def _given(overlay: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in overlay.get("variables", {}).items() if value is not None}


def _lay(target: dict[str, Any], overlay: dict[str, Any], path: Path, there: Path, document: Document) -> None:
    """Merge mappings, replace everything else, take away what is empty; remember where the new values stand."""
    for key, value in overlay.items():
        here, source = (*path, key), (*there, key)
        if here == ("variables",):
            continue
        document.broken |= {here + one[len(source) :] for one in document.broken if one[: len(source)] == source}
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            target[key] = dict(target[key])
            _lay(target[key], value, here, source, document)
        else:
            target[key] = value
            document.moved[here] = source


def _unused(part: _OpenPart, data: dict[str, Any], document: Document) -> Iterator[Problem]:
    """Variables that no value names: mostly a slip in the other place."""
    used = {
        name for key, value in data.items() if key != "variables" for _, names in referenced(value) for name in names
    }
    for name in part.variables:
        if name not in used:
            mark = document.mark(("variables", name), key=True)
            yield Problem(
                "HMS116",
                mark,
                f"no value names the variable {name}",
                f"write {MARK}{name}}} where it belongs, or remove it",
            )
