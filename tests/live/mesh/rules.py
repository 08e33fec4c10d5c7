"""A policy -> each of its rules in words, and the policy without it."""

from __future__ import annotations

import re
from collections.abc import Iterator

NOTHING = 'quota {\n  policy = "read"\n}\n'
"""A policy of Nomad that gives none of the rights that ours give: Nomad takes no empty one."""

_BLOCK = re.compile(r'^\s*([a-z_]+)(?: "[^"]*")? \{$')
_ITEM = re.compile(r'^\s+"[a-z-]+",$')
_LINE = re.compile(r'^\s*([a-z_]+)\s*= "[a-z]+"$')
_LIST = re.compile(r"^(\s*[a-z_]+\s*= \[)(.+)(\])$")


def without_each(text: str) -> Iterator[tuple[str, str]]:
    """Items of lists, single lines, and whole blocks. What ``policy`` says of a block goes with the block."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        around = _around(lines, number)
        place = f" in {around}" if around else ""
        if match := _BLOCK.match(line):
            end = _end(lines, number)
            if around and lines[number - 1].strip().startswith(around) and lines[end + 1].strip() == "}":
                # Nothing would be left of what is around it.
                continue
            yield line.strip().rstrip(" {") + place, _joined([*lines[:number], *lines[end + 1 :]])
        elif (match := _LINE.match(line)) and (match.group(1) != "policy" or around.startswith("namespace")):
            yield line.strip() + place, _joined([*lines[:number], *lines[number + 1 :]])
        elif _ITEM.match(line):
            yield line.strip().rstrip(",") + place, _joined([*lines[:number], *lines[number + 1 :]])
        elif match := _LIST.match(line):
            items = [item.strip() for item in match.group(2).split(",")]
            for item in items if len(items) > 1 else ():
                less = ", ".join(one for one in items if one != item)
                changed = f"{match.group(1)}{less}{match.group(3)}"
                yield f"{item}{place}", _joined([*lines[:number], changed, *lines[number + 1 :]])


def says_something(text: str) -> bool:
    """Whether a policy has any rule."""
    return any(line.strip() and not line.startswith("#") for line in text.splitlines())


def _around(lines: list[str], number: int) -> str:
    """The innermost block around a line, or ""."""
    starts = [at for at, line in enumerate(lines[:number]) if _BLOCK.match(line) and _end(lines, at) > number]
    return lines[starts[-1]].strip().rstrip(" {") if starts else ""


def _end(lines: list[str], start: int) -> int:
    indent = len(lines[start]) - len(lines[start].lstrip())
    return next(at for at in range(start, len(lines)) if lines[at] == f"{' ' * indent}}}")


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
