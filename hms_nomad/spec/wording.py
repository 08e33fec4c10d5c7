"""What does not fit -> problems in our own plain words: what is wrong, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.sections.reading import Misfit
from hms_nomad.sections.saying import kind_of
from hms_nomad.sections.section import Limits
from hms_nomad.sections.shape import BOUNDS, Shape, members
from hms_nomad.spec.document import Document, Path, Problem, quoted, spoken
from hms_nomad.spec.forms import ABSOLUTE_PATH, FILE_PATH, MODE, USER
from hms_nomad.spec.model import ATTRIBUTE, DATACENTER
from hms_nomad.spec.model_task import CHECKSUM, SIGNAL, URL, VOLUME
from hms_nomad.spec.shape import field_at, field_names, sections_with

_OTHER_TOOLS = {
    "replicas": "scaling.min",
    "count": "scaling.min",
    "instances": "scaling.min",
    "environment": "env",
    "healthcheck": "health",
    "health_check": "health",
    "check": "health",
    "ports": "port",
    "depends_on": "uses",
    "dependencies": "uses",
    "upstreams": "uses",
    "tag": "version",
    "cmd": "command",
    "entrypoint": "command",
    "autoscaling": "scaling",
    "paths": "routes",
    "team": "owner",
    "deploy": "rollout",
    "canary": "rollout",
    "limits": "resources",
    "volume": "volumes",
    "mounts": "volumes",
    "sidecars": "tasks",
    "containers": "tasks",
    "artifact": "artifacts",
    "template": "templates",
    "configs": "files",
    "cron": "schedule",
    "ram": "resources.memory",
}
"""Names of other tools for what a field of ours says."""

_SIZE = lazy_pattern(r"([0-9]{1,9})\s*([mg])(?:i?b)?", re.IGNORECASE)
_MIB = {"m": 1, "g": 1024}

_FORMS = {
    "^/": ("must start with a slash", "write {}"),
    ATTRIBUTE: ("is no attribute of a node", "write for example attr.cpu.arch, meta.rack, node.class, without ${{ }}"),
    DATACENTER: ("is no name of a datacenter", "use letters, digits, - and _; * stands for any letters"),
    USER: ("is no user", "write a name or number, and the group after a colon, for example 10001 or app:app"),
    FILE_PATH: (
        "is no path below a directory",
        "use letters, digits and . _ - @ + between slashes",
    ),
    ABSOLUTE_PATH: ("is no path of a directory", "write for example /data, without .. and a slash at its end"),
    MODE: ("is no mode of a file", 'write four octal digits, for example "0644"'),
    URL: ("is no web address", "write https://..."),
    CHECKSUM: ("is no checksum", "write sha256: and 64 hex digits (sha256sum FILE prints them), or sha512: and 128"),
    SIGNAL: ("is no signal", "write for example SIGHUP"),
    VOLUME: ("is no name of a volume", "use letters, digits, - _ . and /"),
    "": ("is written wrongly", "use letters, digits, - and _"),
}
"""What is wrong with a value that does not match a pattern, and what would be right."""


def worded(misfit: Misfit, document: Document, *, hints: bool = True) -> Problem:
    """A misfit as a problem with its place.

    ``hints`` False leaves out the search for the nearest name, which costs time.
    """
    path = misfit.path
    if misfit.of_key:
        return _bad_key(path, document)
    if misfit.kind == "missing":
        return _missing(path, document)
    if misfit.kind == "unknown":
        return _unknown(path, document, hints=hints)
    return _BAD_VALUES.get(misfit.kind, _out_of_bounds)(misfit, document)


def meant_by_another(missing: Path, unknown: Path) -> bool:
    """Whether the unknown key stands for the missing one, misspelt: one mistake, which is said once."""
    return missing[:-1] == unknown[:-1] and _near(str(unknown[-1]), unknown) == missing[-1:]


def _missing(path: Path, document: Document) -> Problem:
    field = field_at(path)
    example = _example(field.examples[0]) if field and field.examples else "..."
    where = f" in {spoken(path[:-1])}" if len(path) > 1 else ""
    return Problem(
        "HMS102",
        document.mark(path[:-1]),
        f"{path[-1]} is missing{where}",
        f"add {path[-1]}: {example}",
    )


def _example(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def _unknown(path: Path, document: Document, *, hints: bool) -> Problem:
    name = str(path[-1])
    where = f" in {spoken(path[:-1])}" if len(path) > 1 else ""
    fix = _nearest_name(name, path) if hints else "remove it"
    return Problem("HMS101", document.mark(path, key=True), f"unknown key {quoted(name)}{where}", fix)


def _nearest_name(name: str, path: Path) -> str:
    if near := _near(name, path):
        return f"did you mean {near[0]}?"
    if (ours := _OTHER_TOOLS.get(name.lower())) and ours != spoken(path[:-1]):
        return f"did you mean {ours}?"
    if elsewhere := [section for section in sections_with(name) if section != spoken(path[:-1])]:
        return "it belongs to " + " or ".join(section or "the top level" for section in elsewhere[:3])
    return "known here: " + ", ".join(field_names(path[:-1]))


def _near(name: str, path: Path) -> tuple[str, ...]:
    return tuple(get_close_matches(name.lower(), field_names(path[:-1]), 1, 0.6))


def _bad_key(path: Path, document: Document) -> Problem:
    section, name = spoken(path[:-1]), str(path[-1])
    if section == "variables":
        return Problem(
            "HMS106",
            document.mark(path, key=True),
            f"{quoted(name)} is no name of a variable",
            "use lower-case letters, digits and underscores, a letter first, at most 63 characters",
        )
    is_file = path[-2:-1] in {("files",), ("templates",)}
    form = Shape("text", limits=Limits(pattern=FILE_PATH)) if is_file else Shape("name")
    message, fix = _wrong_form(f"the name in {section}", name, form, path)
    return Problem("HMS106", document.mark(path, key=True), message, fix)


def _wrong_type(misfit: Misfit, document: Document) -> Problem:
    path, value, shape = misfit.path, misfit.value, misfit.shape
    written = document.text(path)
    subject = spoken(path)
    mark = document.mark(path)
    if not path:
        what = f"a spec is a mapping of fields, not {kind_of(value)}"
        return Problem("HMS103", mark, what, "start with name: my-svc")
    if value is None:
        return Problem("HMS103", mark, f"{subject} is empty", f"give it a value ({shape.words}) or remove the key")
    if names := document.references.get(path):
        fix = f"the value comes from the variable {names[0]}: give it another type"
    else:
        fix = _type_fix(value, written, shape, path)
    fraction = shape.kind == "integer" and isinstance(value, float)
    what = f"the fraction {written}" if fraction else kind_of(value)
    return Problem(
        "HMS103",
        mark,
        f"{subject} must be {shape.one}, not {what}",
        fix,
    )


def _no_choice(misfit: Misfit, document: Document) -> Problem:
    path, value, shape = misfit.path, misfit.value, misfit.shape
    choices = {choice.lower(): choice for choice in shape.choices}
    near = get_close_matches(str(value)[:60].lower(), choices, 1, 0.5)
    fix = f"did you mean {choices[near[0]]}?" if near else f"write {shape.words}"
    return Problem("HMS104", document.mark(path), f"{spoken(path)} cannot be {_shown(value, path)}", fix)


def _type_fix(value: Any, written: str, shape: Shape, path: Path) -> str:
    short = not isinstance(value, dict | list) and len(written) <= 60 and written.isprintable() and not _secret(path)
    digits = re.fullmatch(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*", written) if short else None
    whole = digits.group(1).partition(".")[0] if digits else ""
    if short and (fix := _meant(value, written, path)):
        return fix
    fixes = {
        "text": f'write "{written}"' if short else "put it in quotes",
        "name": f'write "{written}"' if short else "write the name of a service",
        "duration": f"write {digits.group(1)}s" if digits else "write for example 30s",
        "integer": f"write {whole}" + (" without quotes" if isinstance(value, str) else "")
        if digits
        else "write digits",
        "number": f"write {digits.group(1)} without quotes" if digits else "write digits",
        "boolean": "write true or false, without quotes",
        "list": f"write [{written}]" if short else "start each entry with -",
        "section": "its keys are " + ", ".join(members(shape.model) if shape.model else ()),
    }
    return fixes.get(shape.kind, "write key: value")


def _meant(value: Any, written: str, path: Path) -> str | None:
    """What would be right where other tools take another form: sizes with a unit, a section in one word."""
    if path[:1] == ("resources",) and path[-1] in ("memory", "memory_max") and isinstance(value, str):
        size = _SIZE.fullmatch(value)
        return f"write {int(size[1]) * _MIB[size[2].lower()]}, in MiB without a unit" if size else None
    if path == ("health",) and written.startswith("/"):
        return f"write {{path: {written}}}"
    if path == ("scaling",) and isinstance(value, int) and not isinstance(value, bool):
        return f"write {{min: {written}, max: {written}}}"
    return None


def _bad_form(misfit: Misfit, document: Document) -> Problem:
    said = _wrong_form(spoken(misfit.path), str(misfit.value), misfit.shape, misfit.path)
    return Problem("HMS106", document.mark(misfit.path), *said)


def _wrong_form(subject: str, value: str, shape: Shape, path: Path) -> tuple[str, str]:
    shown = _shown(value, path)
    if shape.kind == "name":
        fix = "use lower-case letters, digits and hyphens, a letter first, at most 63 characters"
        tame = re.sub(r"[^a-z0-9]+", "-", value[:200].lower()).lstrip("-0123456789")[:63].rstrip("-")
        near = f", for example {tame}" if tame else ""
        return f"{subject} {shown} is no DNS label", fix + near
    if shape.kind == "duration":
        return (
            f"{subject} {shown} is no duration",
            "write a number with ms, s, m or h, for example 500ms, 30s, 5m or 2h",
        )
    form, example = _FORMS.get(shape.pattern or "", _FORMS[""])
    return f"{subject} {shown} {form}", example.format(quoted("/" + value))


def _out_of_bounds(misfit: Misfit, document: Document) -> Problem:
    path, value, limit = misfit.path, misfit.value, misfit.limit
    subject, mark = spoken(path), document.mark(path)
    if isinstance(value, str) and misfit.kind == "min_length":
        return Problem("HMS105", mark, f"{subject} is empty", "give it a value or remove the key")
    counted = "characters" if isinstance(value, str) else "entries"
    if misfit.kind in BOUNDS:
        fix = f"it must be {BOUNDS[misfit.kind].format(limit)}"
        return Problem("HMS105", mark, f"{subject} is {_shown(value, path)}", fix)
    fix = f"it must have {'at least' if misfit.kind == 'min_length' else 'at most'} {limit} {counted}"
    length = f"is {len(value)} characters long" if isinstance(value, str) else f"has {len(value)} entries"
    return Problem("HMS105", mark, f"{subject} {length}", fix)


def _shown(value: Any, path: Path) -> str:
    if _secret(path):
        return "(not shown)"
    return quoted(value) if isinstance(value, str) else str(value)[:60]


def _secret(path: Path) -> bool:
    """Values of environment variables and contents are not repeated: a message may end in a log."""
    return "env" in path[:-1] or path[-1:] == ("content",)


_BAD_VALUES: dict[str, Callable[[Misfit, Document], Problem]] = {
    "type": _wrong_type,
    "choice": _no_choice,
    "pattern": _bad_form,
}
