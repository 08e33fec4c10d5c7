"""Documents are plain JSON with a schema that comes first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hms_nomad.output.document import as_text, document


class Word(StrEnum):
    YES = "yes"


@dataclass(frozen=True)
class Inner:
    items: tuple[int, ...]
    words: frozenset[str]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    word: Word
    path: Path
    nothing: None = None


def test_frozen_values_become_json():
    body = document("status", {"value": Outer(Inner((1, 2), frozenset({"b", "a"})), Word.YES, Path("x"))})
    assert next(iter(body)) == "schema"
    assert json.loads(as_text(body)) == {
        "schema": "hms-nomad/status/v1",
        "value": {"inner": {"items": [1, 2], "words": ["a", "b"]}, "word": "yes", "path": "x", "nothing": None},
    }


def test_a_streamed_document_is_one_line():
    assert "\n" not in as_text(document("logs", {"line": "a\nb"}), indent=None)
