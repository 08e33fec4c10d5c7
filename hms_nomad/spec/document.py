"""Parsing steps (open, key, scalar, close) -> plain data with the position of every key and value.

YAML and JSON both end here, so that both forms of a spec mean the same and fail alike.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.patterns import lazy_pattern
from hms_nomad.sections.reading import Path as Path  # noqa: PLC0414 - offered here too

"""Where a value stands in a document: ``("routes", 0, "path")``."""

MAX_BYTES = 1024 * 1024
"""Largest file that is read, in bytes."""

MAX_DEPTH = 64
MAX_NODES = 10_000
MAX_FINDINGS = 100
"""Findings after which reading one file stops: nobody mends more at once."""

_PLAIN = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


class Mark(Struct, frozen=True):
    """A place in the text; line and column count from 1, columns in characters."""

    line: int
    column: int


class Problem(Struct, frozen=True):
    """A finding that has no file name yet."""

    code: str
    mark: Mark
    message: str
    fix: str = ""


class UnreadableError(Exception):
    """The text cannot be read any further; carries the reason."""

    def __init__(self, code: str, mark: Mark, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(code, mark, message, fix)


class Document(Struct):
    """Plain data with positions.

    ``written`` holds scalars as they stand in the text; ``broken`` the paths whose value is not known because of a
    problem that is listed; ``complete`` is False when the text could not be read to its end. ``moved`` says which paths
    come from elsewhere in the text, ``references`` which variables a value was made of.
    """

    data: Any = None
    values: dict[Path, Mark] = msgspec.field(default_factory=dict)
    keys: dict[Path, Mark] = msgspec.field(default_factory=dict)
    written: dict[Path, str] = msgspec.field(default_factory=dict)
    problems: list[Problem] = msgspec.field(default_factory=list)
    broken: set[Path] = msgspec.field(default_factory=set)
    complete: bool = True
    moved: dict[Path, Path] = msgspec.field(default_factory=dict)
    references: dict[Path, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """The place of a value (or of its key), or of the nearest part of the document around it."""
        while True:
            there = self.origin(path)
            if key and there in self.keys:
                return self.keys[there]
            if there in self.values:
                return self.values[there]
            if not path:
                return Mark(1, 1)
            path, key = path[:-1], False

    def text(self, path: Path) -> str:
        """A scalar as it stands in the text; "" for everything else."""
        return self.written.get(self.origin(path), "")

    def origin(self, path: Path) -> Path:
        """Where a value stands in the text: elsewhere, if an environment was laid over it."""
        if self.moved:
            for length in range(len(path), 0, -1):
                if (there := self.moved.get(path[:length])) is not None:
                    return (*there, *path[length:])
        return path


class Builder:
    """Puts a document together from parsing steps; refuses what is too deep, too big or said twice."""

    def __init__(self) -> None:
        self.document = Document()
        self._stack: list[tuple[Path, dict[str, Any] | list[Any]]] = []
        self._path: Path = ()
        self._key: str | None = None
        self._nodes = 0

    @property
    def wants_key(self) -> bool:
        """True when the next scalar is a key."""
        return bool(self._stack) and isinstance(self._stack[-1][1], dict) and self._key is None

    def key(self, name: str, mark: Mark) -> None:
        """Start an entry of the innermost mapping."""
        path, container = self._stack[-1]
        if name in container:
            first = self.document.keys[(*path, name)]
            self.problem(
                "HMS007", mark, f"{quoted(name)} is given twice, first at line {first.line}", "keep one of the two"
            )
            self.document.broken.add((*path, name))
        else:
            self.document.keys[(*path, name)] = mark
        self._key = name

    def scalar(self, value: Any, mark: Mark, written: str) -> None:
        """Add a leaf."""
        path = self._place(value, mark)
        self.document.written[path] = written

    def open(self, container: dict[str, Any] | list[Any], mark: Mark) -> Path:
        """Start a mapping or a list; returns where it stands."""
        if len(self._stack) >= MAX_DEPTH:
            raise UnreadableError(
                "HMS010", mark, f"values are nested more than {MAX_DEPTH} deep", "a spec needs far less"
            )
        path = self._place(container, mark)
        self._stack.append((path, container))
        return path

    def close(self) -> None:
        """End the innermost mapping or list."""
        self._stack.pop()
        self._key = None

    def unknown(self, mark: Mark) -> None:
        """Add a leaf whose value is not known."""
        self.document.broken.add(self._place(None, mark))

    def problem(self, code: str, mark: Mark, message: str, fix: str = "") -> None:
        """Note a problem and go on."""
        self.document.problems.append(Problem(code, mark, message, fix))
        if len(self.document.problems) >= MAX_FINDINGS:
            raise UnreadableError(
                "HMS010", mark, f"reading stopped after {MAX_FINDINGS} problems", "mend those above first"
            )

    def stop(self, reason: UnreadableError) -> None:
        """Note why the text cannot be read to its end."""
        self.document.problems.append(reason.problem)
        self.document.complete = False

    def _place(self, value: Any, mark: Mark) -> Path:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise UnreadableError(
                "HMS010", mark, f"the file holds more than {MAX_NODES} values", "a spec needs far less"
            )
        if not self._stack:
            path: Path = ()
            self.document.data = value
        else:
            parent, container = self._stack[-1]
            if isinstance(container, list):
                path = (*parent, len(container))
                container.append(value)
            else:
                name = self._key or ""
                path = (*parent, name)
                container[name] = value
        self._key = None
        self.document.values[path] = mark
        return path


def spoken(path: Path) -> str:
    """A path as people write it: ``routes[0].path``, ``env."A B"``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _PLAIN.match(step) and len(step) <= 64 else quoted(step))
    return text or "the file"


def quoted(text: str, limit: int = 60) -> str:
    """A value for a message: in double quotes, on one line, at most ``limit`` characters of it."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return '"' + one_line(cut.replace("\\", "\\\\")).replace('"', '\\"') + '"'


def one_line(text: str) -> str:
    """The text with every character that could move or hide what follows as an escape."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    point = ord(char)
    return named.get(char) or (f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}")
