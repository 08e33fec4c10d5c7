"""The models -> the published JSON Schema, by which editors complete and check specs."""

from __future__ import annotations

import json
from typing import Any

from hms_nomad.sections.json_schema import section_schema
from hms_nomad.sections.shape import members
from hms_nomad.spec.model import Source, Spec
from hms_nomad.spec.model_job import NEEDED

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{var\.[a-z][a-z0-9_]*\}", "description": "A variable: ${var.NAME}."}
_STRICT = ("enum", "pattern", "minimum", "maximum")


def spec_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a ``.hms.yml`` or ``.hms.json`` file.

    A value that is not free text may also name a variable; an environment holds any part of a spec.
    """
    definitions: dict[str, Any] = {}
    whole = section_schema(Source, definitions)
    variable = definitions.pop("Variable")
    properties = whole["properties"]
    variables, environments = properties.pop("variables"), properties.pop("environments")
    _entries(environments, {"$ref": "#/$defs/Environment"})
    schema: dict[str, Any] = _open({**whole, "$defs": dict(sorted(definitions.items()))})
    schema["properties"] |= {"variables": variables, "environments": environments}
    schema["$defs"] |= {"Environment": _environment(schema), "Reference": _REFERENCE, "Variable": variable}
    return {"$schema": _DIALECT, "title": "hms-nomad service", **schema, "allOf": _needed_by_kind(schema["properties"])}


def _needed_by_kind(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """Fields that only some kinds need; a file that names no kind is a service."""
    conditions = []
    for kind, names in NEEDED.items():
        for name in names:
            properties[name].pop("default", None)
        named: dict[str, Any] = {"properties": {"kind": {"const": kind}}}
        condition = named if kind == "service" else {**named, "required": ["kind"]}
        conditions += [{"if": condition, "then": {"required": list(names)}}] if names else []
    return conditions


def schema_text() -> str:
    """The text of ``docs/hms.schema.json``."""
    return json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"


def _open(schema: Any) -> Any:
    """Let a variable stand wherever a number, a choice or a text of a certain form is due."""
    if isinstance(schema, list):
        return [_open(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in ("integer", "number", "boolean") or (kind == "string" and any(key in schema for key in _STRICT)):
        about = {key: schema[key] for key in ("description", "default", "examples") if key in schema}
        strict = {key: value for key, value in schema.items() if key not in about}
        return {**about, "anyOf": [strict, {"$ref": "#/$defs/Reference"}]}
    return {key: _open(value) if key != "propertyNames" else value for key, value in schema.items()}


def _environment(schema: dict[str, Any]) -> dict[str, Any]:
    """Any part of a spec: nothing is required, an empty value means the default, variables get plain values."""
    parts = {name: _partial(schema["properties"][name], schema) for name in members(Spec) if name != "name"}
    values = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    return {"type": "object", "additionalProperties": False, "properties": {**parts, "variables": values}}


def _partial(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A property that may be empty and, where it is a section, may lack required fields; lists stay whole."""
    if _section(schema):
        section = root["$defs"][schema["$ref"].rpartition("/")[2]]
        fields = {name: _partial(field, root) for name, field in section["properties"].items()}
        # A section may have a short form beside the long one.
        forms = [section["type"]] if isinstance(section["type"], str) else section["type"]
        return {"type": [*forms, "null"], "additionalProperties": False, "properties": fields}
    if "patternProperties" in schema:
        patterns = {pattern: _partial(entry, root) for pattern, entry in schema["patternProperties"].items()}
        return {**schema, "type": ["object", "null"], "patternProperties": patterns}
    if any(_section(choice) for choice in schema.get("anyOf", ())):
        return {**schema, "anyOf": [_partial(choice, root) for choice in schema["anyOf"]]}
    return {"anyOf": [schema, {"type": "null"}]}


def _section(schema: dict[str, Any]) -> bool:
    return "$ref" in schema and schema["$ref"] != "#/$defs/Reference"


def _entries(schema: dict[str, Any], entry: dict[str, Any]) -> None:
    """Say what the entries of a mapping are."""
    schema["patternProperties"] = dict.fromkeys(schema["patternProperties"], entry)
