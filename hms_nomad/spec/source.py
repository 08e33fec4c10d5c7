"""Bytes or text of a file -> text that is safe to parse, or the reason why not."""

from __future__ import annotations

import re
from bisect import bisect_right

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.document import MAX_BYTES, Mark, UnreadableError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FORBIDDEN = lazy_pattern("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class Lines:
    """Turns offsets of a text into lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]

    def mark(self, offset: int) -> Mark:
        """The place of a character offset."""
        line = bisect_right(self._starts, offset)
        return Mark(line, offset - self._starts[line - 1] + 1)


def readable(content: bytes | str) -> str:
    """The text of a file without its byte order mark. Raises UnreadableError with the first offending place."""
    text = _decoded(content) if isinstance(content, bytes) else content
    if len(text) > MAX_BYTES:
        raise too_big(len(text))
    text = text.removeprefix("\ufeff")
    if found := _FORBIDDEN.search(text):
        raise UnreadableError(
            "HMS005",
            Lines(text).mark(found.start()),
            f"the character U+{ord(found.group()):04X} cannot stand in a file",
            'remove it, or write it as an escape inside double quotes, for example "\\u2028"',
        )
    if not text.strip():
        raise UnreadableError("HMS006", Mark(1, 1), "the file is empty", "start with name, version, image and port")
    return text


def too_big(size: int) -> UnreadableError:
    """The refusal of a file of ``size`` bytes."""
    return UnreadableError(
        "HMS003",
        Mark(0, 0),
        f"the file has {size} bytes; at most {MAX_BYTES} are read",
        "a spec is a short file: is this the right one?",
    )


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise too_big(len(content))
    if content.startswith(_UTF16):
        raise UnreadableError("HMS004", Mark(1, 1), "the file is UTF-16", "save it as UTF-8")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise UnreadableError(
            "HMS004",
            Lines(before).mark(len(before)),
            f"the byte 0x{content[error.start]:02X} is no UTF-8",
            "save the file as UTF-8",
        ) from None
