"""The specs that every property test tries hold every field of the published schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hms_nomad.spec.loader import examine
from hms_nomad.spec.schema import spec_schema
from tests.unit.spec.whole import WHOLE

_USED_UP = ("variables", "environments")
"""Fields of a file that no spec has any more once an environment is chosen."""


def fields_of_schema(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every field of a schema as a dotted path; entries of lists and mappings add no step."""
    target = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node
    for name, inner in (target.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        yield here
        yield from fields_of_schema(schema, inner, here)
    parts = [*target.get("anyOf", ()), *(target.get("patternProperties") or {}).values()]
    parts += [target[key] for key in ("items", "additionalProperties") if isinstance(target.get(key), dict)]
    for part in parts:
        yield from fields_of_schema(schema, part, path)


def fields_of(known: set[str], value: Any, path: str = "") -> Iterator[str]:
    """The same for a value; the schema tells the names of a mapping's entries from fields."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from fields_of(known, item, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{name}" if path else name
            if here in known and inner is not None:
                yield here
            yield from fields_of(known, inner, here if here in known else path)


def every_field() -> set[str]:
    """All fields that a spec can have."""
    schema = spec_schema()
    properties = {name: part for name, part in schema["properties"].items() if name not in _USED_UP}
    return set(fields_of_schema(schema, {"properties": properties}))


def test_the_whole_specs_hold_every_field_of_the_schema_and_are_specs():
    known, seen = every_field(), set()
    for fields in WHOLE:
        examined = examine(json.dumps(fields), "whole.json", sources=lambda source: b"content")
        assert examined.spec is not None, examined.diagnostics
        seen |= set(fields_of(known, fields))
    assert len(known) > 150
    assert known - seen == set()
