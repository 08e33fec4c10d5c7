"""Frozen values -> JSON documents with a versioned schema, ``hms-nomad/COMMAND/v1``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from msgspec import Struct


def plain(value: Any) -> Any:
    """A value as JSON knows it: records become objects with the same field names, sets become sorted lists."""
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [plain(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    return str(value) if isinstance(value, Path) else value


def document(command: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a command: its schema first, then the fields of ``body``."""
    return {"schema": f"hms-nomad/{command}/v1", **plain(body)}


def as_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON text; with ``indent`` None on one line, for streams of documents."""
    return json.dumps(value, indent=indent, ensure_ascii=False)
