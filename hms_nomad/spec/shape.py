"""Paths of a document -> what the language lets stand there."""

from __future__ import annotations

from hms_nomad.sections.reading import Path
from hms_nomad.sections.section import Section
from hms_nomad.sections.shape import Member, Shape, members
from hms_nomad.spec.model import Source


def shape_at(path: Path, model: type[Section] = Source) -> Shape | None:
    """The shape of the value at a path of a document, or None where the language knows nothing there."""
    shape: Shape | None = Shape("section", model=model)
    for step in path:
        if shape is None:
            return None
        if shape.kind == "section" and shape.model is not None:
            member = members(shape.model).get(str(step))
            shape = member.shape if member else None
        else:
            shape = shape.item
    return shape


def field_names(path: Path) -> list[str]:
    """The names that may stand as keys of the section at a path; none where any name may."""
    shape = shape_at(path)
    return list(members(shape.model)) if shape and shape.kind == "section" and shape.model else []


def field_at(path: Path) -> Member | None:
    """The declaration of the field at a path."""
    parent = shape_at(path[:-1])
    if not path or parent is None or parent.kind != "section" or parent.model is None:
        return None
    return members(parent.model).get(str(path[-1]))


def sections_with(name: str) -> list[str]:
    """Sections of the language that have a field of this name, as dotted paths; "" is the top."""
    return [prefix for prefix, model in _sections(Source, "") if name in members(model)]


def _sections(model: type[Section], prefix: str) -> list[tuple[str, type[Section]]]:
    found = [(prefix, model)]
    for name, member in members(model).items():
        inner: Shape | None = member.shape
        while inner is not None and inner.model is None:
            inner = inner.item
        if inner is not None and inner.model is not None:
            found += _sections(inner.model, f"{prefix}.{name}" if prefix else name)
    return found
