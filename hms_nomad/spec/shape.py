"""The models -> what each field may hold, in words: the source of hints, documentation and ``explain``."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hms_nomad.spec.model import Source
from hms_nomad.spec.section import DNS_LABEL, DURATION

Step = str | int


class Shape(Struct, frozen=True):
    """What a value may be. ``kind`` is one of text, name, duration, integer, number, boolean, choice, list, mapping,
    section (a mapping with the fields of ``model``) and anything; ``item`` is the shape of an entry."""

    kind: str
    item: Shape | None = None
    model: type[BaseModel] | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    pattern: str | None = None

    @property
    def words(self) -> str:
        """The shape as a person says it, for example "list of durations"."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "list" and self.item and self.item.kind == "choice":
            return "list of any of " + ", ".join(self.item.choices)
        if self.kind == "list" and self.item:
            return f"list of {_PLURALS.get(self.item.kind, self.item.words)}"
        if self.kind == "mapping" and self.item:
            return f"mapping of names to {_PLURALS.get(self.item.kind, self.item.words)}"
        return _WORDS[self.kind]


_WORDS = {
    "text": "text",
    "name": "service name",
    "duration": "duration",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "section": "section",
    "anything": "anything",
    "list": "list",
    "mapping": "mapping",
}
_PLURALS = {
    "text": "texts",
    "name": "service names",
    "duration": "durations",
    "integer": "whole numbers",
    "number": "numbers",
    "section": "sections",
}


def shape_at(path: tuple[Step, ...], model: type[BaseModel] = Source) -> Shape | None:
    """The shape of the value at a path of a document, or None where the language knows nothing there."""
    shape: Shape | None = Shape("section", model=model)
    for step in path:
        if shape is None:
            return None
        if shape.kind == "section" and shape.model is not None:
            field = shape.model.model_fields.get(str(step))
            shape = shape_of(field) if field else None
        else:
            shape = shape.item
    return shape


@cache
def _shapes(model: type[BaseModel]) -> dict[str, Shape]:
    return {name: shape_of(field) for name, field in model.model_fields.items()}


def fields_of(model: type[BaseModel]) -> dict[str, Shape]:
    """The shapes of a section's fields, in their order."""
    return _shapes(model)


def shape_of(field: FieldInfo) -> Shape:
    """The shape of one field."""
    annotation: Any = field.annotation
    return _shape(Annotated[annotation, *field.metadata] if field.metadata else annotation)


def field_names(path: tuple[Step, ...]) -> list[str]:
    """The names that may stand as keys of the section at a path; none where any name may."""
    shape = shape_at(path)
    return list(shape.model.model_fields) if shape and shape.kind == "section" and shape.model else []


def field_at(path: tuple[Step, ...]) -> FieldInfo | None:
    """The declaration of the field at a path."""
    parent = shape_at(path[:-1])
    if not path or parent is None or parent.kind != "section" or parent.model is None:
        return None
    return parent.model.model_fields.get(str(path[-1]))


def sections_with(name: str) -> list[str]:
    """Sections of the language that have a field of this name, as dotted paths; "" is the top."""
    return [prefix for prefix, model in _sections(Source, "") if name in model.model_fields]


def _sections(model: type[BaseModel], prefix: str) -> list[tuple[str, type[BaseModel]]]:
    found = [(prefix, model)]
    for name, shape in _shapes(model).items():
        inner: Shape | None = shape
        while inner is not None and inner.model is None:
            inner = inner.item
        if inner is not None and inner.model is not None:
            found += _sections(inner.model, f"{prefix}.{name}" if prefix else name)
    return found


_SCALARS: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "boolean"}


def _shape(annotation: Any) -> Shape:
    origin = get_origin(annotation)
    if reader := _READERS.get(origin):
        return reader(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape("section", model=annotation)
    return Shape(_SCALARS.get(annotation, "anything"))


def _annotated(arguments: tuple[Any, ...]) -> Shape:
    inner = _shape(arguments[0])
    pattern = next((p for p in (getattr(meta, "pattern", None) for meta in arguments[1:]) if p), inner.pattern)
    return replace(inner, kind=_KINDS.get(pattern or "", inner.kind), pattern=pattern)


def _union(arguments: tuple[Any, ...]) -> Shape:
    return replace(_shape(next(one for one in arguments if one is not type(None))), optional=True)


_KINDS = {DNS_LABEL: "name", DURATION: "duration"}

_READERS: dict[Any, Callable[[tuple[Any, ...]], Shape]] = {
    Annotated: _annotated,
    Union: _union,
    types.UnionType: _union,
    Literal: lambda arguments: Shape("choice", choices=tuple(str(choice) for choice in arguments)),
    tuple: lambda arguments: Shape("list", item=_shape(arguments[0])),
    dict: lambda arguments: Shape("mapping", item=_shape(arguments[1])),
}
