"""Two jobs -> their differences in the form in which Nomad's plan tells them: fields and objects, groups and tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hms_nomad.dev.agent.changes import UNCHANGING
from hms_nomad.dev.agent.values import Json

_LEFT_OUT = UNCHANGING | {"ID", "Name", "Stop", "Dispatched"}


def diff_jobs(before: Json | None, after: Json) -> Json:
    """The difference that registering ``after`` makes; ``before`` None: the job is new."""
    old = before or {}
    found = _part(old, after, _LEFT_OUT | {"TaskGroups"})
    groups = [
        _group(one, other) for one, other in _paired(old.get("TaskGroups") or (), after.get("TaskGroups") or (), "Name")
    ]
    changed = [group for group in groups if group["Type"] != "None"]
    kind = "Added" if before is None else "Edited" if changed or found["Fields"] or found["Objects"] else "None"
    return {"Type": kind, "ID": after["ID"], **found, "TaskGroups": changed or None}


def _group(before: Json | None, after: Json | None) -> Json:
    name = (after or before or {})["Name"]
    found = _part(before or {}, after or {}, {"Name", "Tasks"})
    tasks = [
        _named(one, other)
        for one, other in _paired((before or {}).get("Tasks") or (), (after or {}).get("Tasks") or (), "Name")
    ]
    changed = [task for task in tasks if task["Type"] != "None"]
    kind = _kind(before, after, bool(changed or found["Fields"] or found["Objects"]))
    return {"Type": kind, "Name": name, **found, "Tasks": changed or None, "Updates": None}


def _named(before: Json | None, after: Json | None) -> Json:
    found = _part(before or {}, after or {}, {"Name"})
    kind = _kind(before, after, bool(found["Fields"] or found["Objects"]))
    return {"Type": kind, "Name": (after or before or {})["Name"], **found, "Annotations": None}


def _part(before: Json, after: Json, left_out: Iterable[str]) -> Json:
    """The fields that differ, and the objects in which something does."""
    fields: list[Json] = []
    objects: list[Json] = []
    for name in sorted((set(before) | set(after)) - set(left_out)):
        _compare(name, before.get(name), after.get(name), fields, objects)
    return {"Fields": fields or None, "Objects": objects or None}


def _compare(name: str, one: Any, other: Any, fields: list[Json], objects: list[Json]) -> None:
    if (_empty(one) and _empty(other)) or one == other:
        return
    if isinstance(one, dict) or isinstance(other, dict):
        found = _part(one or {}, other or {}, ())
        if found["Fields"] or found["Objects"]:
            objects.append({"Type": _kind(one, other, changed=True), "Name": name, **found})
    elif _holds_objects(one) or _holds_objects(other):
        key = _key(one, other)
        pairs = _paired(one or (), other or (), key)
        for before, after in pairs:
            _compare(name.removesuffix("s"), before, after, fields, objects)
    elif isinstance(one, list) or isinstance(other, list):
        for number in range(max(len(one or ()), len(other or ()))):
            old = one[number] if one and number < len(one) else None
            new = other[number] if other and number < len(other) else None
            _compare(f"{name}[{number}]", old, new, fields, objects)
    else:
        kind = "Added" if _empty(one) else "Deleted" if _empty(other) else "Edited"
        fields.append({"Type": kind, "Name": name, "Old": _text(one), "New": _text(other), "Annotations": None})


def _kind(before: Any, after: Any, changed: bool) -> str:
    if not before:
        return "Added"
    return "Deleted" if not after else "Edited" if changed else "None"


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def _key(one: Any, other: Any) -> str:
    sample = next(iter([*(one or ()), *(other or ())]))
    return next((key for key in ("Name", "DestPath", "Label", "DestinationName", "Path") if key in sample), "")


def _paired(before: Iterable[Json], after: Iterable[Json], key: str) -> list[tuple[Json | None, Json | None]]:
    if not key:
        old: list[Json | None] = list(before)
        new: list[Json | None] = list(after)
        size = max(len(old), len(new))
        return list(zip(old + [None] * (size - len(old)), new + [None] * (size - len(new)), strict=True))
    ones, others = {one.get(key): one for one in before}, {one.get(key): one for one in after}
    return [(ones.get(name), others.get(name)) for name in {**ones, **others}]


def _empty(value: Any) -> bool:
    return value in (None, "", [], {}, 0, False)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
