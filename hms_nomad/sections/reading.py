"""Data as YAML and JSON have it -> a section, or everything that does not fit, each with its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import cache
from operator import ge, gt, le, lt
from typing import Any, TypeVar

from msgspec import Struct

from hms_nomad.sections.section import UNLIMITED, Section, marked
from hms_nomad.sections.shape import Shape, members

_S = TypeVar("_S", bound=Section)

Path = tuple[str | int, ...]

_MOST = 2_000
"""Misfits after which no more are looked for."""


class Misfit(Struct, frozen=True):
    """A value that does not fit. ``kind`` is one of

    - missing, unknown: a field that is needed and not there, a key that the section does not know;
    - type, choice, pattern: a value of another type, none of the allowed, of another form;
    - ge, gt, le, lt, min_length, max_length: beyond that limit, which is ``limit``;
    - contradiction: fields that are right by themselves and not together, in the words of ``limit``.

    Where ``of_key`` is set, it is the key at the path that does not fit, not its value. ``shape`` is what would fit.
    """

    path: Path
    kind: str
    shape: Shape
    value: Any = None
    limit: Any = None
    of_key: bool = False


class MisfitError(ValueError):
    """Data that is no such section; ``misfits`` says why, in the order of the fields."""

    def __init__(self, misfits: list[Misfit]) -> None:
        found = [(one.path, one.limit if one.kind == "contradiction" else one.kind) for one in misfits[:5]]
        super().__init__("; ".join(f"{'.'.join(map(str, path))}: {what}" for path, what in found))
        self.misfits = misfits


def read(model: type[_S], data: Any) -> _S:
    """The section that data holds. Values are of exactly the declared types; a whole number is a number, too.

    Raises MisfitError.
    """
    misfits: list[Misfit] = []
    section = _section(Shape("section", model=model), data, (), misfits)
    if misfits:
        raise MisfitError(misfits)
    made: _S = section
    return made


def _value(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    if (data is None and shape.optional) or len(misfits) >= _MOST:
        return None
    types, reader = _READERS[shape.kind]
    if not isinstance(data, types):
        misfits.append(Misfit(path, "type", shape, data))
        return None
    return reader(shape, data, path, misfits)


def _section(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    model = shape.model or Section
    if isinstance(data, str) and model.short_for:
        data = {model.short_for: data}
    if not isinstance(data, dict):
        misfits.append(Misfit(path, "type", shape, data))
        return None
    before = len(misfits)
    known = members(model)
    values = {}
    for name, member in known.items():
        if name in data:
            values[name] = _value(member.shape, data[name], (*path, name), misfits)
        elif member.required:
            misfits.append(Misfit((*path, name), "missing", member.shape))
    unknown = [name for name in data if name not in known]
    misfits += [Misfit((*path, name), "unknown", shape, data[name]) for name in unknown[:_MOST]]
    if len(misfits) > before:
        return None
    made = model(**values)
    if values:
        marked(made, frozenset(values))
    if wrong := made.contradiction():
        misfits.append(Misfit(path, "contradiction", shape, data, wrong))
    return made


def _list(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    item = shape.item or Shape("anything")
    misfits += _beyond(_LENGTHS, shape, data, len(data), path)
    return tuple(_value(item, one, (*path, index), misfits) for index, one in enumerate(data))


def _mapping(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    item, key = shape.item or Shape("anything"), shape.key or Shape("text")
    misfits += _beyond(_LENGTHS, shape, data, len(data), path)
    for name in data:
        if len(misfits) >= _MOST:
            break
        bad: list[Misfit] = []
        _value(key, name, (*path, name), bad)
        misfits += [Misfit(one.path, one.kind, one.shape, name, one.limit, of_key=True) for one in bad]
    return {name: _value(item, one, (*path, name), misfits) for name, one in data.items()}


def _text(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    if shape.limits is UNLIMITED:
        return data
    pattern = shape.limits.pattern
    if beyond := _beyond(_LENGTHS, shape, data, len(data), path):
        misfits += beyond
    elif pattern is not None and not _compiled(pattern).search(data):
        misfits.append(Misfit(path, "pattern", shape, data, pattern))
    return data


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Python's own $ would let a line break stand at the end.
    return re.compile(pattern.replace("$", r"\Z"))


def _integer(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    # By the very type: true and false are integers to isinstance.
    if type(data) is not int:
        misfits.append(Misfit(path, "type", shape, data))
        return None
    misfits += _beyond(_VALUES, shape, data, data, path)
    return data


def _number(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    if type(data) is not int and type(data) is not float:
        misfits.append(Misfit(path, "type", shape, data))
        return None
    beyond = _beyond(_VALUES, shape, data, data, path)
    misfits += beyond
    return data if beyond else float(data)


def _date(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    if isinstance(data, str):
        try:
            return date.fromisoformat(data)
        except ValueError:
            pass
    elif type(data) is date:
        return data
    misfits.append(Misfit(path, "type", shape, data))
    return None


def _choice(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    if not isinstance(data, str) or data not in shape.choices:
        misfits.append(Misfit(path, "choice", shape, data))
    return data


def _either(shape: Shape, data: Any, path: Path, misfits: list[Misfit]) -> Any:
    for form in shape.forms:
        bad: list[Misfit] = []
        value = _value(form, data, path, bad)
        if not bad:
            return value
    misfits.append(Misfit(path, "type", shape, data))
    return None


def _as_it_is(_: Shape, data: Any, __: Path, ___: list[Misfit]) -> Any:
    return data


_Reader = Callable[[Shape, Any, Path, list[Misfit]], Any]
_READERS: dict[str, tuple[type | tuple[type, ...], _Reader]] = {
    "text": (str, _text),
    "name": (str, _text),
    "duration": (str, _text),
    "integer": (object, _integer),
    "number": (object, _number),
    "boolean": (bool, _as_it_is),
    "date": (object, _date),
    "choice": (object, _choice),
    "either": (object, _either),
    "list": ((list, tuple), _list),
    "mapping": (dict, _mapping),
    "section": (object, _section),
    "anything": (object, _as_it_is),
}
"""What a value of each kind is an instance of, and what reads it; ``object`` where the reader judges by itself."""


_Bounds = tuple[tuple[str, Callable[[float, float], bool]], ...]
_LENGTHS: _Bounds = (("min_length", ge), ("max_length", le))
_VALUES: _Bounds = (("ge", ge), ("gt", gt), ("le", le), ("lt", lt))


def _beyond(bounds: _Bounds, shape: Shape, data: Any, measure: float, path: Path) -> list[Misfit]:
    """The first limit that a number, or the length of a value, is beyond."""
    for limit, keeps in bounds:
        bound = getattr(shape.limits, limit)
        if bound is not None and not keeps(measure, bound):
            return [Misfit(path, limit, shape, data, bound)]
    return []
