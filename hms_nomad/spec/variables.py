"""Declarations and values of variables -> documents in which every ``${var.NAME}`` is replaced by its value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.document import Document, Path, Problem, quoted, spoken
from hms_nomad.spec.model import Variable
from hms_nomad.spec.selection import Selection
from hms_nomad.spec.shape import shape_at

MARK = "${var."
"""How every reference begins; a file without it needs none of this."""

_REFERENCE = lazy_pattern(r"\$?\$\{var\.([^}]*)\}")
_WHOLE = lazy_pattern(r"\$\{var\.([a-z][a-z0-9_]*)\}\Z")
_UNFIT = lazy_pattern("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TYPES: dict[str, type | tuple[type, ...]] = {"text": str, "integer": int, "number": (int, float), "boolean": bool}
_ARTICLES = {"text": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_TEXTUAL = frozenset({"text", "name", "duration", "choice"})


class Value(Struct, frozen=True):
    """A variable's value and what gave it: "default", "environment NAME" or "command line"; its path in the file."""

    value: Any
    given_by: str
    path: Path


def values_of(
    declared: Mapping[str, Variable], overridden: Mapping[str, Any], selection: Selection, document: Document
) -> tuple[dict[str, Value | None], list[Problem]]:
    """The value of each variable: the command line's, else the environment's, else the default; and what is wrong.

    A variable whose value is listed as wrong has the value None.
    """
    values: dict[str, Value | None] = {}
    problems: list[Problem] = []
    names: list[tuple[Path, str]] = [
        (("environments", selection.environment or "", "variables", n), n) for n in overridden
    ]
    names += [(("variables",), name) for name in selection.variables if not selection.lenient]
    problems += [_undeclared(name, declared, document, path) for path, name in names if name not in declared]
    for name, variable in declared.items():
        value, problem = _value(name, variable, overridden, selection)
        if value is not None and problem is None:
            problem = _misfit(name, variable, value)
        if problem:
            path = value.path if value else ("variables", name)
            problems.append(Problem("HMS113", document.mark(path, key=len(path) == 2), *problem))
            values[name] = None
        elif value is not None:
            values[name] = value
    return values, problems


def replaced(
    document: Document, declared: Mapping[str, Variable], values: Mapping[str, Value | None]
) -> tuple[Any, dict[Path, tuple[str, ...]], list[Problem]]:
    """The document's data with every reference replaced, the variables that each value was made of, and what is wrong.

    A value that is one reference takes the variable's type; where text is due, every value becomes text. ``$${var.x}``
    stands for the text ``${var.x}`` itself.
    """
    walk = _Walk(document, declared, values)
    return walk.data(document.data, ()), walk.references, walk.problems


def referenced(data: Any, path: Path = ()) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every text in the data that names variables, with its path and the names."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from referenced(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from referenced(value, (*path, index))
    elif isinstance(data, str) and MARK in data and (names := _names(data)):
        yield path, names


def _names(text: str) -> tuple[str, ...]:
    found = (match.group(1) for match in _REFERENCE.finditer(text) if not match.group().startswith("$$"))
    return tuple(dict.fromkeys(found))


class _Walk:
    def __init__(
        self, document: Document, declared: Mapping[str, Variable], values: Mapping[str, Value | None]
    ) -> None:
        self._document = document
        self._declared = declared
        self._values = values
        self.references: dict[Path, tuple[str, ...]] = {}
        self.problems: list[Problem] = []

    def data(self, data: Any, path: Path) -> Any:
        """A copy of a part of the document with its references replaced."""
        if isinstance(data, dict):
            return {key: self.data(value, (*path, key)) for key, value in data.items()}
        if isinstance(data, list):
            return [self.data(value, (*path, index)) for index, value in enumerate(data)]
        return self._text(data, path) if isinstance(data, str) and MARK in data else data

    def _text(self, text: str, path: Path) -> Any:
        names = _names(text)
        missing = [problem for name in names if (problem := self._missing(name, path))]
        if missing or any(self._values[name] is None for name in names):
            self.problems += missing
            self._document.broken.add(path)
            return text
        if names:
            self.references[path] = names
        shape = shape_at(path)
        if (whole := _WHOLE.match(text)) and (shape is None or shape.kind not in _TEXTUAL):
            return self._value(whole.group(1))
        return _REFERENCE.sub(self._one, text)

    def _one(self, match: re.Match[str]) -> str:
        if match.group().startswith("$$"):
            return match.group()[1:]
        return as_text(self._value(match.group(1)))

    def _value(self, name: str) -> Any:
        value = self._values[name]
        return value.value if value else None

    def _missing(self, name: str, path: Path) -> Problem | None:
        mark = self._document.mark(path)
        if name not in self._declared:
            near = get_close_matches(name[:63], self._declared, 1, 0.6)
            fix = f"did you mean {near[0]}?" if near else "declare it below variables"
            return Problem(
                "HMS111", mark, f"{spoken(path)} names the variable {quoted(name)}, which is not declared", fix
            )
        if name not in self._values:
            fix = f"give it with --var {name}=..., in an environment, or give it a default"
            return Problem("HMS112", mark, f"the variable {name} has no value", fix)
        return None


def as_text(value: Any) -> str:
    """A value as it stands inside a text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(
    name: str, variable: Variable, overridden: Mapping[str, Any], selection: Selection
) -> tuple[Value | None, tuple[str, str] | None]:
    if name in selection.variables:
        text = selection.variables[name]
        parsed = _parsed(text, variable.type)
        value = Value(parsed, "command line", ("variables", name))
        if parsed is None or _UNFIT.search(text):
            wanted = _ARTICLES[variable.type]
            return value, (f"--var {name} must be {wanted}", f"write {wanted} without control characters")
        return value, None
    if name in overridden:
        path: Path = ("environments", selection.environment or "", "variables", name)
        return Value(overridden[name], f"environment {selection.environment}", path), None
    if variable.default is not None:
        return Value(variable.default, "default", ("variables", name, "default")), None
    return None, None


def _parsed(text: str, kind: str) -> Any:
    """The value of a typed text, or None where it is none of that kind."""
    if kind == "text":
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text)
    pattern = r"-?[0-9]{1,18}" if kind == "integer" else r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?"
    if not re.fullmatch(pattern, text):
        return None
    return int(text) if "." not in text else float(text)


def _misfit(name: str, variable: Variable, value: Value) -> tuple[str, str] | None:
    wanted = _ARTICLES[variable.type]
    is_boolean = isinstance(value.value, bool)
    if not isinstance(value.value, _TYPES[variable.type]) or is_boolean != (variable.type == "boolean"):
        return f"the variable {name} must be {wanted}", f"write {wanted}, or declare another type"
    if variable.choices and value.value not in variable.choices:
        choices = ", ".join(as_text(choice)[:40] for choice in variable.choices[:20])
        return f"the variable {name} cannot have this value", f"it takes one of {choices}"
    return None


def _undeclared(name: str, declared: Mapping[str, Variable], document: Document, path: Path) -> Problem:
    near = get_close_matches(name[:63], declared, 1, 0.6)
    fix = f"did you mean {near[0]}?" if near else "declare it below variables"
    return Problem("HMS111", document.mark(path, key=True), f"the variable {quoted(name)} is not declared", fix)
