"""YAML text -> Document. The part of YAML that people mean, without its surprises.

Only ``true`` and ``false`` are booleans; numbers are decimal; everything else (``yes``, ``017``, ``12:30``,
``2026-01-01``) stays the text that it is. Anchors, aliases, merge keys and tags are refused, so that a small file stays
small. Events are read one by one: nothing is built that is too deep or too big.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.document import Builder, Document, Mark, UnreadableError, quoted
from hms_nomad.spec.source import Lines

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = lazy_pattern(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = lazy_pattern(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NO_NUMBER = lazy_pattern(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_LONGEST_NUMBER = 40
_BEYOND = 2**63


def read_yaml(text: str) -> Document:
    """Parse one YAML document; what is wrong with it is listed in the result."""
    builder = Builder()
    try:
        _build(text, builder)
    except yaml.MarkedYAMLError as error:
        builder.stop(_worded(error, text))
    except UnreadableError as error:
        builder.stop(error)
    return builder.document


def number(written: str) -> int | float | None:
    """The number that a scalar stands for, or None where it is none. Raises ValueError where no server holds it."""
    if not _FLOAT.match(written):
        return None
    if len(written) > _LONGEST_NUMBER:
        raise ValueError("the number has too many digits")
    if not _INTEGER.match(written):
        value = float(written)
        if math.isfinite(value):
            return value
    elif -_BEYOND <= int(written) < _BEYOND:
        return int(written)
    raise ValueError(f"the number {written} is beyond 64 bits")


def _build(text: str, builder: Builder) -> None:
    documents = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise UnreadableError(
                    "HMS008", _mark(event), "a second document starts here", "keep one service per file"
                )
        elif isinstance(event, yaml.NodeEvent):
            _node(event, builder)
        elif isinstance(event, yaml.CollectionEndEvent):
            builder.close()
    if documents == 0:
        raise UnreadableError("HMS006", Mark(1, 1), "the file is empty", "start with name, version, image and port")


def _node(event: yaml.NodeEvent, builder: Builder) -> None:
    mark = _mark(event)
    if isinstance(event, yaml.AliasEvent):
        builder.problem("HMS011", mark, f"the alias *{event.anchor} is not allowed", "write the value out")
        if builder.wants_key:
            builder.key(f"*{event.anchor}", mark)
        else:
            builder.unknown(mark)
        return
    if event.anchor:
        builder.problem(
            "HMS011", mark, f"the anchor &{event.anchor} is not allowed", "write the value out where it is needed"
        )
    if isinstance(event, yaml.ScalarEvent):
        _scalar(event, mark, builder)
    elif not isinstance(event, yaml.CollectionStartEvent):
        raise TypeError(f"an event of another kind: {event}")
    elif builder.wants_key:
        raise UnreadableError("HMS012", mark, "a key must be text, not a list or a mapping", "write key: value")
    else:
        path = builder.open({} if isinstance(event, yaml.MappingStartEvent) else [], mark)
        if event.tag:
            builder.problem("HMS013", mark, f"the tag {_tag(event)} is not allowed", "remove it")
            builder.document.broken.add(path)


def _scalar(event: yaml.ScalarEvent, mark: Mark, builder: Builder) -> None:
    plain = event.style in (None, "")
    if event.tag:
        builder.problem("HMS013", mark, f"the tag {_tag(event)} is not allowed", "put text in quotes instead")
    if builder.wants_key:
        if plain and event.value == "<<":
            builder.problem("HMS011", mark, "the merge key << is not allowed", "write the keys out")
        elif plain and event.value == "":
            raise UnreadableError("HMS012", mark, "a key is missing before the colon", "write key: value")
        builder.key(event.value, mark)
    elif event.tag:
        builder.unknown(mark)
    else:
        try:
            value = _plain(event.value) if plain else event.value
        except ValueError as error:
            builder.problem("HMS009", mark, str(error), "put it in quotes if it is text")
            builder.unknown(mark)
        else:
            builder.scalar(value, mark, event.value)


def _plain(written: str) -> Any:
    if written in _NULL:
        return None
    if written in {"true", "false"}:
        return written == "true"
    if _NO_NUMBER.match(written):
        raise ValueError(f"{written} is no number")
    value = number(written)
    return written if value is None else value


def _tag(event: Any) -> str:
    return quoted(event.tag.replace("tag:yaml.org,2002:", "!!"))


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


_OPENED = {
    "while parsing a flow sequence": ("the list that starts here is not closed", "add ] at its end"),
    "while parsing a flow mapping": ("the mapping that starts here is not closed", "add } at its end"),
    "while scanning a quoted scalar": ("the quote that starts here is not closed", "add the closing quote"),
}

_WORDS = {
    "did not find expected key": (
        "this line does not fit the lines above",
        "align it with the keys of the same section",
    ),
    "did not find expected '-' indicator": (
        "this line does not belong to the list above",
        "start it with - or align it",
    ),
    "could not find expected ':'": ("a key without a colon", "write key: value"),
    "found unknown escape character": (
        "an unknown escape after the backslash",
        "double the backslash, or use single quotes",
    ),
    "exceeded maximum nesting depth": ("values are nested too deep", "a spec needs far less"),
    "block sequence entries are not allowed in this context": ("a list cannot start here", "start it on its own line"),
    "found incompatible YAML document": ("this version of YAML is not known", "remove the %YAML line"),
}


def _worded(error: yaml.MarkedYAMLError, text: str) -> UnreadableError:
    problem = error.problem or "unknown"
    if error.context in _OPENED and error.context_mark and problem.startswith(("did not find expected", "found unexp")):
        message, fix = _OPENED[error.context]
        return UnreadableError("HMS002", _inside(error.context_mark, text), message, fix)
    mark = _inside(error.problem_mark or error.context_mark, text)
    if problem == "found character that cannot start any token":
        return _bad_start(mark, text)
    if problem == "mapping values are not allowed in this context":
        return _second_colon(mark, text)
    message, fix = _WORDS.get(problem, (f"this is no YAML: {problem}", "see the YAML of the examples"))
    return UnreadableError("HMS010" if "nesting" in problem else "HMS002", mark, message, fix)


def _second_colon(mark: Mark, text: str) -> UnreadableError:
    before = _line(mark, text)[: mark.column - 1]
    if ": " in before:
        return UnreadableError("HMS002", mark, "a second ': ' stands on this line", "put the value in quotes")
    indent = len(before) - len(before.lstrip()) + 1
    return UnreadableError(
        "HMS002",
        Mark(mark.line, indent),
        "this line is indented further than the lines above allow",
        "align it with the keys of the same section",
    )


def _line(mark: Mark, text: str) -> str:
    return re.split(r"\r\n|\r|\n", text)[mark.line - 1]


def _bad_start(mark: Mark, text: str) -> UnreadableError:
    char = _line(mark, text)[mark.column - 1 : mark.column]
    if char == "\t":
        return UnreadableError("HMS002", mark, "a tab cannot indent YAML", "use spaces")
    return UnreadableError("HMS002", mark, f"a value cannot start with {quoted(char)}", "put it in quotes")


def _inside(mark: Any, text: str) -> Mark:
    """The mark, or the end of the text where the parser points behind it."""
    end = Lines(text).mark(len(text.rstrip()))
    if mark is None or mark.line + 1 > end.line:
        return end
    return Mark(mark.line + 1, mark.column + 1)
