"""What a cluster's foundation lacks, or was given -> lines for people, and the same for machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hms_nomad.output.plans import Detail, change_lines
from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.change import Action, Change

if TYPE_CHECKING:
    from hms_nomad.plan.groundwork import Groundwork


def groundwork_lines(printer: Printer, found: Groundwork, state: str) -> Iterator[str]:
    """Each object that changes with its fields, what is left out, and what agents' own files must say."""
    for step in found.effective:
        yield from change_lines(printer, _short(step.change), Detail.FIELDS)
    for step in found.steps:
        if step.left:
            yield f"  = {step.change.kind} {inert(step.change.name)} stays: {step.left}"
    for note in found.notes:
        yield printer.style(note, "dim")
    kept = sum(step.change.action is Action.KEEP for step in found.steps)
    done = len(found.effective)
    if not done:
        yield f"{printer.style('✓', 'green')} nothing to change: all {kept} objects are as they should be"
        if state == "removed":
            return
    elif state == "planned":
        yield f"{done} to change, {kept} unchanged"
    else:
        yield f"{printer.style('✓', 'green')} {done} objects {'removed' if state == 'removed' else 'made or changed'}"
    if found.stanzas and (done or state == "planned"):
        yield ""
        for server, text in found.stanzas.items():
            yield printer.style(f"The configuration of {server.capitalize()}'s agents must say:", "bold")
            yield from (f"  {line}" if line else "" for line in text.splitlines())


def _short(change: Change) -> Change:
    """A new object without the whole of its texts: policies are long, and ``policies show`` prints them."""
    if change.action is not Action.CREATE:
        return change
    return replace(change, fields=tuple(replace(one, after=_counted(one.after)) for one in change.fields))


def _counted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _counted(item) for key, item in value.items()}
    lines = value.count("\n") if isinstance(value, str) else 0
    return f"({lines} lines)" if lines else value


def groundwork_document(found: Groundwork) -> dict[str, Any]:
    """The same for machines."""
    return {
        "changed": bool(found.effective),
        "objects": [
            {
                "kind": step.change.kind,
                "name": step.change.name,
                "action": step.change.action,
                "left": step.left,
                "fields": [{"path": f.path, "before": f.before, "after": f.after} for f in step.change.fields],
            }
            for step in found.steps
        ],
        "notes": found.notes,
        "stanzas": dict(found.stanzas),
    }
