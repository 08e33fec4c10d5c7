"""Answers, or what was read from elsewhere -> the text of a first spec, commented, and the files that hold it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.patterns import lazy_pattern
from hms_nomad.sections.shape import members
from hms_nomad.spec.diagnostics import Level, SpecError
from hms_nomad.spec.document import one_line
from hms_nomad.spec.loader import examine
from hms_nomad.spec.model import Source
from hms_nomad.spec.schema import schema_text
from hms_nomad.spec.selection import Selection
from hms_nomad.workflows.sources import sources_of

SCHEMA_FILE = "hms.schema.json"
"""Name of the JSON Schema that is put beside a first spec, for editors."""

_ROUNDS = 30
_NAME = lazy_pattern(r"[^a-z0-9]+")


class Draft(Struct, frozen=True):
    """The fields of a spec to be written, and in words what they do not hold, under a title."""

    fields: Mapping[str, Any]
    left: tuple[str, ...] = ()
    title: str = "Not carried over"


class Written(Struct, frozen=True):
    """A spec that was written: its file, the service, what it does not hold, and the title of that list.

    ``builds`` says that it is built from the sources beside it.
    """

    file: str
    service: str
    left: tuple[str, ...]
    title: str = "Not carried over"
    builds: bool = False


class CannotConvertError(ValueError):
    """What was read stands for nothing that a spec could describe; the text says why."""


def label_of(name: str) -> str:
    """The DNS label that is nearest to a name from elsewhere."""
    return _NAME.sub("-", name.lower()).lstrip("-0123456789")[:63].rstrip("-") or "service"


def literal(value: Any) -> Any:
    """A value from elsewhere in which nothing names a variable of the spec."""
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [literal(item) for item in value]
    return value.replace("${var.", "$${var.") if isinstance(value, str) else value


def drafted(draft: Draft, file: str) -> tuple[str, Draft]:
    """The text of a valid spec, and the draft that it holds: fields that no spec may have go to what is left.

    Raises SpecError where name or version or what runs is itself wrong.
    """
    for _ in range(_ROUNDS):
        text = text_of(draft)
        # A variable without a default is a question to whoever deploys, not a fault of the draft.
        asked = {name: "1" for name, one in draft.fields.get("variables", {}).items() if "default" not in one}
        examined = examine(text, file, Selection(None, asked), sources=sources_of(file))
        if examined.spec is not None:
            return text, draft
        errors = [found for found in examined.diagnostics if found.level is Level.ERROR]
        fields = dict(draft.fields)
        marks = {name: examined.document.mark((name,), key=True) for name in fields}
        left = list(draft.left)
        for error in errors:
            place = (error.position.line, error.position.column)
            before = [
                (mark.line, mark.column, name) for name, mark in marks.items() if (mark.line, mark.column) <= place
            ]
            guilty = max(before)[2] if before else ""
            if guilty not in {"", "name", "version", "kind", "image", "command", "port"} and fields.pop(guilty, None):
                left.append(f"{guilty}: {error.message}")
        if len(fields) == len(draft.fields):
            raise SpecError(tuple(errors))
        draft = replace(draft, fields=fields, left=tuple(left))
    raise SpecError(tuple(errors))


def text_of(draft: Draft) -> str:
    """The YAML text: each field below the comment that says what it means."""
    lines = [f"# yaml-language-server: $schema={SCHEMA_FILE}"]
    for name, value in draft.fields.items():
        about = members(Source)[name].description
        dumped = yaml.dump({name: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        lines += ["", f"# {one_line(about)}", dumped.rstrip("\n")]
    if draft.left:
        lines += ["", f"# {draft.title}:", *(f"# - {one_line(each)}" for each in draft.left)]
    lines += ["", "# Every field: hms-nomad explain, or docs/spec.md.", ""]
    return "\n".join(lines)


def write(drafts: Iterable[Draft], target: Path, *, force: bool = False) -> tuple[Written, ...]:
    """Write one spec into a file, or several into a directory, with the JSON Schema beside them; all of them or none.

    ``target`` is a directory, or the file of a single draft. Raises FileExistsError for a file that is there, unless
    ``force`` replaces it, SpecError, and OSError.
    """
    texts: dict[Path, tuple[str, Draft]] = {}
    for draft in drafts:
        path = target / f"{draft.fields['name']}.hms.yml" if target.is_dir() else target
        texts[path] = drafted(draft, str(path))
    taken = [path for path in texts if path.exists() and not force]
    if taken:
        raise FileExistsError(f"{taken[0]} is there already")
    for path, (text, _) in texts.items():
        path.write_text(text, encoding="utf-8")
        schema = path.parent / SCHEMA_FILE
        if not schema.exists():
            schema.write_text(schema_text(), encoding="utf-8")
    return tuple(
        Written(str(path), str(draft.fields["name"]), draft.left, draft.title, "build" in draft.fields)
        for path, (_, draft) in texts.items()
    )


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors, and texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
