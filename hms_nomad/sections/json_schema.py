"""The models -> JSON Schema (draft 2020-12), by which editors complete and check what is written."""

from __future__ import annotations

from typing import Any

from hms_nomad.sections.section import Section, as_data
from hms_nomad.sections.shape import Member, Shape, members

_TYPES = {"name": "string", "text": "string", "duration": "string", "date": "string", "integer": "integer"}
_TYPES |= {"number": "number", "boolean": "boolean", "list": "array", "mapping": "object"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_LENGTHS = {
    "string": {"min_length": "minLength", "max_length": "maxLength"},
    "array": {"min_length": "minItems", "max_length": "maxItems"},
    "object": {"min_length": "minProperties", "max_length": "maxProperties"},
}


def section_schema(model: type[Section], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section. Those of the sections in it are added to ``definitions``, as ``#/$defs/NAME``."""
    fields = members(model)
    required = [name for name, member in fields.items() if member.required]
    return {
        "additionalProperties": False,
        "description": " ".join((model.__doc__ or "").split()),
        "properties": {name: _property(member, definitions) for name, member in fields.items()},
        **({"required": required} if required else {}),
        "type": ["object", "string"] if model.short_for else "object",
    }


def _property(member: Member, definitions: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {} if member.required else {"default": as_data(member.default)}
    if member.description:
        about["description"] = member.description
    if member.examples:
        about["examples"] = list(member.examples)
    return {**_schema(member.shape, definitions), **about}


def _schema(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    forms = [_of_kind(form, definitions) for form in shape.forms or (shape,)]
    if shape.optional:
        forms.append({"type": "null"})
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _of_kind(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    if shape.kind == "anything":
        return {}
    if shape.kind == "choice":
        return {"enum": list(shape.choices), "type": "string"}
    if shape.model is not None:
        name = shape.model.__name__
        if name not in definitions:
            definitions[name] = section_schema(shape.model, definitions)
        return {"$ref": f"#/$defs/{name}"}
    kind = _TYPES[shape.kind]
    entries = {"list": _items, "mapping": _entries}.get(shape.kind, _nothing)(shape, definitions)
    return {**entries, **_limits(shape, _LENGTHS.get(kind, _BOUNDS)), "type": kind}


def _limits(shape: Shape, words: dict[str, str]) -> dict[str, Any]:
    limits = {word: getattr(shape.limits, name) for name, word in words.items()}
    return {word: bound for word, bound in (limits | {"pattern": shape.pattern}).items() if bound is not None}


def _nothing(_: Shape, __: dict[str, Any]) -> dict[str, Any]:
    return {}


def _items(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    return {"items": _schema(shape.item, definitions) if shape.item else {}}


def _entries(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    entry = _schema(shape.item, definitions) if shape.item else {}
    if shape.key is None or shape.key.pattern is None:
        return {"additionalProperties": entry or True}
    longest = shape.key.limits.max_length
    names = {} if longest is None else {"propertyNames": {"maxLength": longest}}
    return {"additionalProperties": False, "patternProperties": {shape.key.pattern: entry}, **names}
