"""The models -> the published JSON Schema, by which editors complete and check specs."""

from __future__ import annotations

import json
from typing import Any

from hms_nomad.spec.model import Spec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a ``.hms.yml`` or ``.hms.json`` file."""
    schema = _tidied(Spec.model_json_schema())
    return {"$schema": _DIALECT, "title": "hms-nomad service", **schema}


def schema_text() -> str:
    """The text of ``docs/hms.schema.json``."""
    return json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidied(schema: Any) -> Any:
    """Without the titles that only repeat the names of keys, and in one line a description each."""
    if isinstance(schema, list):
        return [_tidied(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _tidied(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
