"""Path of a field -> what it means: type, default, bounds, examples and the fields below it."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from hms_nomad.sections.section import Section
from hms_nomad.sections.shape import BOUNDS, Member, Shape, members
from hms_nomad.spec.model import Source
from hms_nomad.spec.model_job import NEEDED


class FieldDoc(Struct, frozen=True):
    """What is to be said about a field.

    ``path`` is canonical: ``routes[].path`` for a field of list entries, ``probes.NAME.path`` for one of named
    entries, "" for the whole spec. ``default`` is None where there is none; ``required`` tells why. ``limits`` are
    short sentences. ``children`` are paths that can be explained further.
    """

    path: str
    type: str
    required: bool
    default: Any
    description: str
    examples: tuple[Any, ...]
    limits: tuple[str, ...]
    children: tuple[str, ...]


class UnknownFieldError(ValueError):
    """No field has this path; the message names the nearest one."""


def explain(path: str) -> FieldDoc:
    """The documentation of a field, by a path like ``scaling.cpu.high`` ("": of the whole spec).

    Entries of lists and mappings may be left out or named: ``routes.path``, ``routes[0].path`` and ``routes[].path``
    are the same. Raises UnknownFieldError.
    """
    table = _table()
    wanted = _canonical(path)
    if wanted in table:
        return table[wanted]
    raise UnknownFieldError(f"there is no field {path!r}; {_nearest(wanted, table)}")


def every_field() -> tuple[FieldDoc, ...]:
    """The documentation of the spec and of all fields, in the order of the models."""
    return tuple(_table().values())


def _canonical(path: str) -> str:
    """Replace what stands for an entry by its canonical form, where the language has entries."""
    shape: Shape | None = Shape("section", model=Source)
    steps: list[str] = []
    for step in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        if shape is not None and shape.kind in {"list", "mapping"}:
            entry = "[]" if shape.kind == "list" else ".NAME"
            shape = shape.item
            steps.append(entry)
            named = shape is not None and shape.model is not None and step in members(shape.model)
            if not named or step.startswith("["):
                continue
        steps.append(f".{step}")
        member = members(shape.model).get(step) if shape is not None and shape.model is not None else None
        shape = member.shape if member else None
    while steps and steps[-1] in {"[]", ".NAME"}:
        steps.pop()
    return "".join(steps).lstrip(".")


def _nearest(wanted: str, table: dict[str, FieldDoc]) -> str:
    leaves: dict[str, list[str]] = {}
    for name in table:
        leaves.setdefault(name.rpartition(".")[2], []).append(name)
    last = wanted.rpartition(".")[2]
    near = leaves.get(last) or get_close_matches(wanted, table, 1, 0.6)
    if not near and (alike := get_close_matches(last, leaves, 1, 0.6)):
        near = leaves[alike[0]]
    return f"did you mean {' or '.join(near[:3])}?" if near else "hms-nomad explain lists all fields"


def _table() -> dict[str, FieldDoc]:
    table: dict[str, FieldDoc] = {}
    whole = " ".join((Source.__doc__ or "").split())
    table[""] = FieldDoc(
        "",
        "section",
        required=True,
        default=None,
        description=whole,
        examples=(),
        limits=(),
        children=tuple(members(Source)),
    )
    _add(Source, "", table)
    return table


def _add(model: type[Section], prefix: str, table: dict[str, FieldDoc]) -> None:
    for name, member in members(model).items():
        path = f"{prefix}.{name}" if prefix else name
        section, below = _section_in(member.shape, path)
        children = tuple(f"{below}.{child}" for child in members(section)) if section else ()
        table[path] = _doc(path, member, section, children)
        if section is not None:
            _add(section, below, table)


def _section_in(shape: Shape, path: str) -> tuple[type[Section] | None, str]:
    """The section that a field holds, itself or as entries, and the path of such a section."""
    if shape.kind == "list" and shape.item is not None:
        return _section_in(shape.item, f"{path}[]")
    if shape.kind == "mapping" and shape.item is not None:
        return _section_in(shape.item, f"{path}.NAME")
    return shape.model, path


def _doc(path: str, member: Member, section: type[Section] | None, children: tuple[str, ...]) -> FieldDoc:
    about = member.description
    meaning = " ".join((section.__doc__ or "").split()) if section else ""
    return FieldDoc(
        path=path,
        type=member.shape.words,
        required=member.required or path in NEEDED["service"],
        default=None if path in NEEDED["service"] else _default(member, children),
        description=about if meaning.startswith(about.rstrip(".")) or not meaning else f"{about} {meaning}",
        examples=tuple(member.examples),
        limits=_limits(member.shape),
        children=children,
    )


def _default(member: Member, children: tuple[str, ...]) -> Any:
    """The default as it would be written; a section's own is that of its fields."""
    value = member.default
    if children and isinstance(value, Section):
        return None
    return list(value) if isinstance(value, tuple) else value


_SENTENCES = {**BOUNDS, "min_length": "not empty", "max_length": "at most {} characters long"}


def _limits(shape: Shape) -> tuple[str, ...]:
    forms = {
        "name": "made of lower-case letters, digits and hyphens, a letter first, at most 63 characters",
        "duration": "a number with ms, s, m or h",
    }
    if shape.kind in forms:
        return (forms[shape.kind],)
    said = {name: getattr(shape.limits, name) for name in _SENTENCES}
    found = [sentence.format(said[name]) for name, sentence in _SENTENCES.items() if said[name] is not None]
    return (*found, "a path that starts with a slash") if shape.pattern == "^/" else tuple(found)
