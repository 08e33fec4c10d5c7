"""Rules about the escape hatch (HMS231): only fields that a job of Nomad has, and none that the spec itself sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, quoted, spoken
from hms_nomad.spec.model import Spec
from hms_nomad.spec.nomad_fields import NomadField, nomad_fields
from hms_nomad.spec.registry import Hit, check

_SECTIONS = {"job": "Job", "group": "TaskGroup", "task": "Task"}
_FIXED = {
    "job": ("ID", "Name", "Namespace", "Region", "Type", "TaskGroups"),
    "group": ("Name", "Count", "Services", "Tasks"),
    "task": ("Name",),
}
_LONGEST_NAME = 60
_ANY_NAMES = frozenset({("Job", "Meta"), ("TaskGroup", "Meta"), ("Task", "Meta"), ("Task", "Env"), ("Task", "Config")})
"""Mappings whose names may be any text; HCL has no way to write such names in the others."""

_IDENTIFIER = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@check(
    "HMS231",
    Level.ERROR,
    "The escape hatch reaches for what it cannot change",
    reads=("nomad",),
    fix="use the keys job, group and task with other fields of the Nomad API",
    example="nomad:\n  job: {Name: other}",
)
def escape_hatch(spec: Spec) -> Iterator[Hit]:
    """``nomad`` is laid over the job, the group and the task; their identity and number come from the spec itself. A
    field that Nomad does not know would be dropped by it without a word.
    """
    for part, fields in spec.nomad.items():
        at = ("nomad", part)
        if part not in _SECTIONS:
            yield Hit(at, f"nomad knows job, group and task, not {quoted(part)}", at_key=True)
        elif not isinstance(fields, Mapping):
            yield Hit(at, f"nomad.{part} must be a mapping", "write Field: value")
        else:
            fixed = {name.lower() for name in _FIXED[part]}
            yield from (
                Hit((*at, name), f"nomad.{part}.{name} is set from the spec", at_key=True)
                for name in fields
                if name.lower() in fixed
            )
            free = {name: value for name, value in fields.items() if name.lower() not in fixed}
            yield from _unknown(at, _SECTIONS[part], free)


def _unknown(at: Path, section: str, fields: Mapping[str, Any]) -> Iterator[Hit]:
    """What a section of Nomad's API does not have, or does not take, at any depth."""
    known = nomad_fields(section)
    for name, value in fields.items():
        here = (*at, name)
        if name not in known:
            near = _near(name, known)
            fix = f"write {near}: fields have the names of Nomad's API" if near else f"it has {', '.join(known)}"
            yield Hit(here, f"{spoken(at)} has no field {quoted(name)}", fix, at_key=True)
        elif not known[name].takes(value):
            yield Hit(here, f"{spoken(here)} must be {known[name].words}", f"write {known[name].words}")
        elif known[name].kind in ("m", "h", "a") and (section, name) not in _ANY_NAMES:
            for key in value or ():
                if not _IDENTIFIER.match(key):
                    message = f"{quoted(key)} cannot stand in {spoken(here)}"
                    yield Hit((*here, key), message, "write letters, digits, _ and -, a letter first", at_key=True)
        elif known[name].section and value is not None:
            yield from _inside(here, known[name], value)


def _inside(at: Path, field: NomadField, value: Any) -> Iterator[Hit]:
    parts: list[tuple[Path, Any]] = [(at, value)]
    if field.kind == "*":
        parts = [((*at, index), part) for index, part in enumerate(value)]
    elif field.kind == "%":
        parts = [((*at, name), part) for name, part in value.items()]
    for here, part in parts:
        if isinstance(part, Mapping):
            yield from _unknown(here, field.section, part)
        else:
            yield Hit(here, f"{spoken(here)} must be a mapping", "write Field: value")


def _near(name: str, known: Mapping[str, NomadField]) -> str:
    """The field that was meant: in another case, in its HCL name, or misspelt."""
    cut = name[:_LONGEST_NAME]
    plain = cut.lower().replace("_", "")
    for field, about in known.items():
        if plain in (field.lower(), about.hcl.replace("_", "")):
            return field
    return next(iter(get_close_matches(cut, known, 1, 0.7)), "")
