"""The progress that BuildKit tells, as an engine passes it on -> lines for people; pure.

It is moby.buildkit.v1.StatusResponse in protobuf (https://github.com/moby/buildkit/blob/master/api/services/control/control.proto),
of which only names of steps, their errors and what they print are read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

_VERTEX, _LOG = 1, 3
_VERTEX_DIGEST, _VERTEX_NAME, _VERTEX_CACHED, _VERTEX_STARTED, _VERTEX_ERROR = 1, 3, 4, 5, 7
_LOG_TEXT = 4
_INTERNAL = ("[internal]", "copy /context")


class Trace:
    """Reads the progress of one build; each step is told once, when it begins."""

    def __init__(self) -> None:
        self._told: set[bytes | int] = set()

    def lines(self, encoded: str) -> Iterator[str]:
        """The lines that one message is worth; none for one that is no such message."""
        try:
            fields = list(_fields(base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError, IndexError):
            return
        for number, value in fields:
            if number == _VERTEX and isinstance(value, bytes):
                yield from self._step(dict(_fields(value)))
            elif number == _LOG and isinstance(value, bytes):
                text = dict(_fields(value)).get(_LOG_TEXT, b"")
                yield from _text(text).splitlines()

    def _step(self, step: dict[int, bytes | int]) -> Iterator[str]:
        name, digest = _text(step.get(_VERTEX_NAME, b"")), step.get(_VERTEX_DIGEST, b"")
        if _VERTEX_STARTED in step and digest not in self._told and not name.startswith(_INTERNAL):
            self._told.add(digest)
            yield f"{name} (cached)" if step.get(_VERTEX_CACHED) else name
        if error := _text(step.get(_VERTEX_ERROR, b"")):
            yield f"{name}: {error}"


def _text(value: bytes | int) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message by their numbers (https://protobuf.dev/programming-guides/encoding/).

    Raises ValueError or IndexError for bytes that are none.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, place = _varint(data, place)
        if size is None or place + size > len(data):
            raise ValueError("no message of protobuf")
        yield number, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, place
