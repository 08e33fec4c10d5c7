"""Plan -> a diff that people read, and the same facts for machines; values of secrets are hidden in it already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.change import Action, Change, FieldChange, Plan

_SIGNS = {Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-", Action.KEEP: "="}
_COLORS = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.DELETE: "red", Action.KEEP: "dim"}
_PAST = {Action.CREATE: "create", Action.UPDATE: "update", Action.DELETE: "delete"}


def plan_lines(printer: Printer, plans: Sequence[Plan]) -> Iterator[str]:
    """A diff for each plan, object by object and field by field, and one line that sums them up."""
    for plan in plans:
        yield f"{printer.style(plan.service, 'bold')}: {_headline(plan)}"
        for change in plan.changes:
            yield from _change_lines(printer, change)
        yield ""
    counts = {action: sum(c.action is action for plan in plans for c in plan.changes) for action in Action}
    changing = [f"{counts[action]} to {word}" for action, word in _PAST.items()]
    yield f"{', '.join(changing)}, {counts[Action.KEEP]} unchanged"


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan for machines. The bodies are left out: they hold the values that the fields hide."""
    return {
        "service": plan.service,
        "changed": not plan.empty,
        "release_before": plan.release_before,
        "release_after": plan.release_after,
        "replaces_instances": plan.new_release,
        "unfinished": plan.unfinished,
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


def _headline(plan: Plan) -> str:
    if plan.empty:
        return f"nothing to change (release {plan.release_after})"
    if plan.release_before is None:
        return f"new, release {plan.release_after}"
    if plan.new_release:
        return f"release {plan.release_before} -> {plan.release_after}, every instance is replaced"
    if plan.unfinished and not plan.effective:
        return f"release {plan.release_after} did not become healthy, and is deployed again"
    return f"release {plan.release_after} stays, no instance is replaced"


def _change_lines(printer: Printer, change: Change) -> Iterator[str]:
    color = _COLORS[change.action]
    yield printer.style(f"  {_SIGNS[change.action]} {change.kind} {inert(change.name)}", color)
    for field in change.fields:
        yield f"      {_field(printer, field)}"


def _field(printer: Printer, field: FieldChange) -> str:
    path = inert(field.path)
    if field.before is None:
        return printer.style(f"+ {path}: {_value(field.after)}", "green")
    if field.after is None:
        return printer.style(f"- {path}: {_value(field.before)}", "red")
    return printer.style(f"~ {path}: {_value(field.before)} -> {_value(field.after)}", "yellow")


def _value(value: Any) -> str:
    return inert(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
