"""JSON text (RFC 8259) -> Document, with the same limits and the same refusals as YAML."""

from __future__ import annotations

import json
import re
from json import decoder
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.document import Builder, Document, Mark, UnreadableError, quoted
from hms_nomad.spec.source import Lines
from hms_nomad.spec.yaml_source import number

_SPACE = lazy_pattern(r"[ \t\r\n]*")
_NUMBER = lazy_pattern(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9A-Za-z_.+-])")
_WORD = lazy_pattern(r"[^\s,:\[\]{}\"]+")
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}
_SURROGATE = "[\ud800-\udfff]"


def read_json(text: str) -> Document:
    """Parse one JSON value; what is wrong with it is listed in the result."""
    reader = _Reader(text)
    try:
        reader.read()
    except UnreadableError as error:
        reader.builder.stop(error)
    return reader.builder.document


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = Lines(text)
        self._at = 0
        self._closers: list[str] = []
        self._first = True
        self.builder = Builder()

    def read(self) -> None:
        """Read the whole text into the builder. Raises UnreadableError where that ends early."""
        self._value()
        while self._closers:
            self._member()
        if self._peek():
            raise self._wrong("text after the end of the value", "remove it")

    def _member(self) -> None:
        """Read what follows in the innermost container: a comma and an entry, a first entry, or the end."""
        closer = self._closers[-1]
        first = self._first
        self._first = False
        if self._peek() == closer:
            self._at += 1
            self._closers.pop()
            self.builder.close()
            return
        if not first:
            if self._peek() != ",":
                raise self._wrong(f"a comma or {closer} must stand here", "check the value before this place")
            self._at += 1
            if self._peek() == closer:
                raise self._wrong(f"a comma stands before {closer}", "remove the comma")
        if closer == "}":
            self._key()
        self._value()

    def _key(self) -> None:
        if self._peek() != '"':
            raise self._wrong("a key must stand here in double quotes", 'write "key": value')
        mark = self._mark()
        self.builder.key(self._string(), mark)
        if self._peek() != ":":
            raise self._wrong("a colon must stand here", 'write "key": value')
        self._at += 1

    def _value(self) -> None:
        start = self._peek()
        mark = self._mark()
        if start and start in "{[":
            self._at += 1
            self.builder.open({} if start == "{" else [], mark)
            self._closers.append("}" if start == "{" else "]")
            self._first = True
        elif start == '"':
            text = self._string()
            self.builder.scalar(text, mark, text)
        elif match := _NUMBER.match(self._text, self._at):
            self._at = match.end()
            self._number(match.group(), mark)
        else:
            self._constant(mark)

    def _number(self, written: str, mark: Mark) -> None:
        try:
            value = number(written)
        except ValueError as error:
            self.builder.problem("HMS009", mark, str(error), "put it in quotes if it is text")
            self.builder.unknown(mark)
        else:
            self.builder.scalar(value, mark, written)

    def _constant(self, mark: Mark) -> None:
        match = _WORD.match(self._text, self._at)
        word = match.group() if match else ""
        if word not in _CONSTANTS:
            raise self._wrong(f"{quoted(word)} is no JSON value" if word else "a value is missing here", "see RFC 8259")
        self._at += len(word)
        self.builder.scalar(_CONSTANTS[word], mark, word)

    def _string(self) -> str:
        start = self._at
        try:
            end: int
            text: str
            text, end = decoder.scanstring(self._text, start + 1, True)  # type: ignore[attr-defined]
        except json.JSONDecodeError as error:
            raise UnreadableError(
                "HMS002", self._lines.mark(error.pos), "this is no JSON string", "check its quotes and escapes"
            ) from None
        self._at = end
        if not text.isascii() and re.search(_SURROGATE, text):
            raise UnreadableError("HMS005", self._lines.mark(start), "half of a character pair", "write both halves")
        return text

    def _peek(self) -> str:
        match = _SPACE.match(self._text, self._at)
        if match:
            self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _mark(self) -> Mark:
        return self._lines.mark(self._at)

    def _wrong(self, message: str, fix: str) -> UnreadableError:
        return UnreadableError("HMS002", self._mark(), message, fix)
