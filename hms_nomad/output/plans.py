"""Plan -> a diff that people read, and the same facts for machines; values of secrets are hidden in it already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher, unified_diff
from enum import StrEnum
from typing import Any

from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.change import Action, Change, FieldChange, Plan
from hms_nomad.plan.foresight import WORDS, Foresight

_SIGNS = {Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-", Action.KEEP: "="}
_COLORS = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.DELETE: "red", Action.KEEP: "dim"}
_LONGEST_DIFF = 60
_PAST = {Action.CREATE: "create", Action.UPDATE: "update", Action.DELETE: "delete"}


class Detail(StrEnum):
    """How much of a plan is shown: a line a service, the fields that change, or also what is new and what stays."""

    SUMMARY = "summary"
    FIELDS = "fields"
    ALL = "all"


def plan_lines(printer: Printer, plans: Sequence[Plan], detail: Detail = Detail.FIELDS) -> Iterator[str]:
    """A diff for each plan, object by object and field by field, and one line that sums them up."""
    for plan in plans:
        headline = _headline(plan) if plan.release_after else _headline_outside(plan)
        yield f"{printer.style(plan.service, 'bold')}: {headline}"
        if detail is Detail.SUMMARY:
            continue
        for name, pin in plan.images.items() if not plan.empty else ():
            yield f"  image {inert(name)} is {inert(pin.rpartition('@')[2])}"
        for change in plan.changes:
            yield from change_lines(printer, change, detail)
        if plan.foresight is not None:
            yield from _foresight_lines(printer, plan.foresight)
        if not plan.empty or detail is Detail.ALL:
            yield ""
    counts = {action: sum(c.action is action for plan in plans for c in plan.changes) for action in Action}
    changing = [f"{counts[action]} to {word}" for action, word in _PAST.items()]
    yield f"{', '.join(changing)}, {counts[Action.KEEP]} unchanged"


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan for machines. The bodies are left out: they hold the values that the fields hide."""
    return {
        "service": plan.service,
        "changed": not (plan.empty or plan.waits),
        "release_before": plan.release_before,
        "release_after": plan.release_after,
        "replaces_instances": plan.replaces,
        "unfinished": plan.unfinished,
        "under_way": plan.under_way,
        "images": dict(plan.images),
        "foresight": _foresight_document(plan.foresight),
        "changes": [
            {
                "action": change.action,
                "kind": change.kind,
                "name": change.name,
                "index": change.index,
                "fields": [{"path": f.path, "before": f.before, "after": f.after} for f in change.fields],
            }
            for change in plan.changes
        ],
    }


def _foresight_document(foresight: Foresight | None) -> dict[str, Any] | None:
    if foresight is None:
        return None
    return {
        "groups": foresight.groups,
        "placed": foresight.placed,
        "unplaced": foresight.unplaced,
        "warnings": foresight.warnings,
    }


def _foresight_lines(printer: Printer, foresight: Foresight) -> Iterator[str]:
    for group, found in foresight.groups.items():
        counted = ", ".join(f"{number} {WORDS[key]}" for key, number in found.items())
        yield f"  Nomad: group {inert(group)}: {counted or 'no instance is touched'}"
    for group, reason in foresight.unplaced.items():
        yield printer.style(f"  Nomad: group {inert(group)} finds no node: {inert(reason)}", "red")
    if foresight.placed and foresight.groups:
        yield "  Nomad: every instance finds a node"
    for line in foresight.warnings.splitlines():
        if line.strip():
            yield printer.style(f"  Nomad: {inert(line.strip())}", "yellow")


def _headline(plan: Plan) -> str:
    if plan.empty:
        return f"nothing to change (release {plan.release_after})"
    if plan.waits:
        return f"nothing to change (release {plan.release_after}, whose deployment is under way)"
    if plan.release_before is None:
        return f"new, release {plan.release_after}"
    if plan.new_release and _is_job(plan):
        return f"release {plan.release_before} -> {plan.release_after}, from its next run on"
    if plan.new_release:
        return f"release {plan.release_before} -> {plan.release_after}, every instance is replaced"
    return f"release {plan.release_after} {_of_the_same_release(plan)}"


def _is_job(plan: Plan) -> bool:
    return any(change.kind == "job" and (change.body or {}).get("Type") == "batch" for change in plan.changes)


def _of_the_same_release(plan: Plan) -> str:
    if plan.unfinished and not plan.effective:
        return "did not become healthy, and is deployed again"
    if plan.replaces:
        return "stays, instances that differ from it are replaced"
    return "stays, no instance is replaced"


def _headline_outside(plan: Plan) -> str:
    return "nothing to change" if plan.empty else "the way to an external service"


def change_lines(printer: Printer, change: Change, detail: Detail) -> Iterator[str]:
    """The lines of one object: what happens to it, and its fields."""
    if change.action is Action.KEEP and detail is not Detail.ALL:
        return
    color = _COLORS[change.action]
    yield printer.style(f"  {_SIGNS[change.action]} {change.kind} {inert(change.name)}", color)
    # A whole job is too long for a first look; what it says of itself is all new anyway.
    told = change.kind != "job" or change.action is not Action.CREATE or detail is Detail.ALL
    for field in change.fields if told else ():
        if _is_text(field.before) and _is_text(field.after):
            yield from _text_lines(printer, field)
        elif is_long_list(field.before) and is_long_list(field.after):
            yield from _item_lines(printer, field)
        else:
            yield f"      {_field(printer, field)}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def is_long_list(value: Any) -> bool:
    """Whether a value is a list of objects, such as routes, that nobody compares by eye on one line."""
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def _item_lines(printer: Printer, field: FieldChange) -> Iterator[str]:
    """The items of a list, such as routes, that go and that come; those that stay are counted."""
    yield printer.style(f"      ~ {inert(field.path)}:", "yellow")
    yield from (f"          {line}" for line in changed_items(printer, field.before, field.after))


def changed_items(printer: Printer, before: Sequence[Any], after: Sequence[Any]) -> Iterator[str]:
    """A line for each item that only one of two lists has, or has in another place, in their order."""
    old, new = [_value(item) for item in before], [_value(item) for item in after]
    stay = 0
    for _, start, end, begin, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if old[start:end] == new[begin:last]:
            stay += end - start
            continue
        yield from (printer.style(f"- {item}", "red") for item in old[start:end])
        yield from (printer.style(f"+ {item}", "green") for item in new[begin:last])
    if stay:
        yield f"{stay} unchanged"


def _text_lines(printer: Printer, field: FieldChange) -> Iterator[str]:
    """The lines of a file that change, instead of the whole of it twice."""
    yield printer.style(f"      ~ {inert(field.path)}:", "yellow")
    found = list(unified_diff(field.before.split("\n"), field.after.split("\n"), n=1, lineterm=""))[2:]
    for line in found[:_LONGEST_DIFF]:
        color = {"+": "green", "-": "red"}.get(line[0])
        shown = f"          {inert(line)}"
        yield printer.style(shown, color) if color else shown
    if not found:
        yield "          only what is hidden"
    if len(found) > _LONGEST_DIFF:
        yield f"          and {len(found) - _LONGEST_DIFF} lines more"


def _field(printer: Printer, field: FieldChange) -> str:
    path = inert(field.path)
    if field.before is None:
        return printer.style(f"+ {path}: {_value(field.after)}", "green")
    if field.after is None:
        return printer.style(f"- {path}: {_value(field.before)}", "red")
    return printer.style(f"~ {path}: {_value(field.before)} -> {_value(field.after)}", "yellow")


def _value(value: Any) -> str:
    return inert(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
