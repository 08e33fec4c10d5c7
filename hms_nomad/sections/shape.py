"""The models -> what each field may hold, and how a person says it."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields, replace

from hms_nomad.sections.section import UNLIMITED, Limits, Section, declaration, defaults_of


class Shape(Struct, frozen=True):
    """What a value may be.

    ``kind`` is one of text, name, duration, integer, number, boolean, date, choice, list, mapping, section (a mapping
    with the fields of ``model``), either (any of ``forms``) and anything. ``item`` is the shape of an entry, ``key``
    that of its name in a mapping.
    """

    kind: str
    item: Shape | None = None
    key: Shape | None = None
    model: type[Section] | None = None
    choices: tuple[str, ...] = ()
    forms: tuple[Shape, ...] = ()
    optional: bool = False
    limits: Limits = UNLIMITED

    @property
    def pattern(self) -> str | None:
        """The form that a text must have."""
        return self.limits.pattern

    @property
    def words(self) -> str:
        """The shape as a person says it, for example "list of durations"."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "either":
            return " or ".join(form.words for form in self.forms)
        if self.kind == "list" and self.item and self.item.kind == "choice":
            return "list of any of " + ", ".join(self.item.choices)
        if self.kind == "list" and self.item:
            return f"list of {_PLURALS.get(self.item.kind, self.item.words)}"
        if self.kind == "mapping" and self.item:
            return f"mapping of names to {_PLURALS.get(self.item.kind, self.item.words)}"
        return _WORDS[self.kind]

    @property
    def one(self) -> str:
        """One value of the shape, for example "a list of durations"."""
        return self.words if self.kind in _WITHOUT_ARTICLE else f"a {self.words}"


BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}
"""What a number must be, by the names of its limits."""

_WITHOUT_ARTICLE = frozenset({"text", "boolean", "choice", "either", "anything"})
_WORDS = {
    "text": "text",
    "name": "service name",
    "duration": "duration",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "date": "date",
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


class Member(Struct, frozen=True):
    """A field of a section: its shape, whether it must be given, its default (None then), meaning and examples."""

    shape: Shape
    required: bool
    default: Any
    description: str
    examples: Sequence[Any]


@cache
def members(model: type[Section]) -> dict[str, Member]:
    """The fields of a section by their names, in their order."""
    found, defaults = {}, defaults_of(model)
    for info in fields(model):
        declared = declaration(model, info.name)
        found[info.name] = Member(
            _limited(_shape(info.type), declared.limits),
            info.name not in defaults,
            defaults.get(info.name),
            declared.description,
            declared.examples,
        )
    return found


_SCALARS: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "boolean", date: "date"}


def _shape(annotation: Any) -> Shape:
    if reader := _READERS.get(get_origin(annotation)):
        return reader(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Shape("section", model=annotation)
    return Shape(_SCALARS.get(annotation, "anything"))


def _annotated(arguments: tuple[Any, ...]) -> Shape:
    shape = _shape(arguments[0])
    for limits in arguments[1:]:
        shape = _limited(shape, limits)
    return shape


def _limited(shape: Shape, limits: Limits) -> Shape:
    """The shape with further limits; what both say, the outer says."""
    if limits == UNLIMITED:
        return shape
    said = {name: value for name in limits.__struct_fields__ if (value := getattr(limits, name)) is not None}
    return replace(shape, kind=limits.kind or shape.kind, limits=replace(shape.limits, **said))


def _union(arguments: tuple[Any, ...]) -> Shape:
    forms = tuple(_shape(one) for one in arguments if one is not type(None))
    one = forms[0] if len(forms) == 1 else Shape("either", forms=forms)
    return replace(one, optional=type(None) in arguments)


_READERS: dict[Any, Callable[[tuple[Any, ...]], Shape]] = {
    Annotated: _annotated,
    Union: _union,
    types.UnionType: _union,
    Literal: lambda arguments: Shape("choice", choices=arguments),
    tuple: lambda arguments: Shape("list", item=_shape(arguments[0])),
    dict: lambda arguments: Shape("mapping", item=_shape(arguments[1]), key=_shape(arguments[0])),
}
