"""A program -> what Go's linker wrote into it of its modules; pure.

The form is that of Go 1.18 and later: https://pkg.go.dev/debug/buildinfo.
"""

from __future__ import annotations

from msgspec import Struct

_MAGIC = b"\xff Go buildinf:"
_HEADER = 32
_INLINE = 2
"""The flag of strings that stand right behind the header."""

_MARK = 16
"""Bytes around the modules' text that say where it begins and ends."""


class GoModule(Struct, frozen=True):
    """A module by its path and version; ``version`` is empty for what was built from a directory."""

    path: str
    version: str


def module_text(program: bytes) -> bytes:
    """Go's version and the modules' text, a line each; b"" for a program that is none of Go's."""
    place = program.find(_MAGIC)
    while place >= 0:
        # The linker aligns it; a tool that looks for it holds the same bytes as text.
        if place % 16 == 0 and place + _HEADER < len(program) and program[place + 15] & _INLINE:
            version, rest = _string(program, place + _HEADER)
            text, _ = _string(program, rest)
            if version.startswith((b"go", b"devel")):
                return version + b"\n" + text[_MARK:-_MARK]
        place = program.find(_MAGIC, place + 1)
    return b""


def modules_of(text: bytes) -> tuple[GoModule, ...]:
    """The modules of such a text: the program's own one first, then the standard library, then what it uses."""
    version, *lines = text.decode("utf-8", "replace").split("\n")
    found: list[GoModule] = []
    for line in lines:
        kind, *words = line.split("\t")
        if kind in ("mod", "dep") and words:
            found.append(GoModule(words[0], _version(words)))
        elif kind == "=>" and words and found:
            # What replaced the one before.
            found[-1] = GoModule(words[0], _version(words))
    library = GoModule("stdlib", version.removeprefix("go").split(" ")[0])
    return (*found[:1], library, *found[1:])


def _version(words: list[str]) -> str:
    return words[1] if len(words) > 1 and words[1] != "(devel)" else ""


def _string(data: bytes, place: int) -> tuple[bytes, int]:
    """A string with its length before it (an unsigned varint), and where the next one begins."""
    length = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return data[place : place + length], place + length
