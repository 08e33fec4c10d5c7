"""What we registered against what is stored now -> the fields that somebody else changed; nothing is asked here.

Both jobs come from Nomad, so both hold its defaults, and every field of them can be compared. What belongs to the
autoscaler, to operators who hold a count, and to Nomad itself is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hms_nomad.compile.desired import Intention
from hms_nomad.compile.scaling import HOLD_KEY
from hms_nomad.plan.change import Action, Change
from hms_nomad.plan.hiding import without_secrets
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.intentions import is_ours
from hms_nomad.plan.normal import ATTEMPT_KEY
from hms_nomad.plan.observed import ObservedEntry

CHANGED, MISSING, EXTRA, OVERRULED = "changed", "missing", "extra", "overruled"
"""How an object differs from what was deployed. Overruled is a right that an operator's own rule stands in the way of:
a deploy leaves such rules alone.
"""

_NOMADS = frozenset(
    {
        *("CreateIndex", "ModifyIndex", "JobModifyIndex", "Version", "VersionTag", "SubmitTime", "Stable", "Status"),
        *("StatusDescription", "NomadTokenID", "Stop", "DispatchIdempotencyToken"),
    }
)
_NOT_OURS = frozenset(
    {
        "TaskGroups.app.Count",
        "TaskGroups.app.Update.AutoPromote",
        "TaskGroups.app.Update.Canary",
        "Update.AutoPromote",
        "Update.Canary",
        f"TaskGroups.app.Scaling.Policy.{HOLD_KEY}",
        "TaskGroups.app.Scaling.CreateIndex",
        "TaskGroups.app.Scaling.ModifyIndex",
        f"TaskGroups.app.Tasks.app.Meta.{ATTEMPT_KEY}",
    }
)
_NAMES = ("Name", "Label", "DestinationName", "Path", "LTarget")


class DriftedField(Struct, frozen=True):
    """One field: what was deployed and what is there now (None: the field is not there), with secrets hidden."""

    path: str
    deployed: Any
    found: Any


class DriftedObject(Struct, frozen=True):
    """One object that is not what was deployed; ``state`` is changed, missing or extra, ``index`` its present one."""

    kind: str
    name: str
    state: str
    index: int
    fields: tuple[DriftedField, ...]


def job_drift(deployed: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[DriftedField, ...]:
    """The fields in which a stored job differs from the version that we registered."""
    return tuple(
        DriftedField(path, without_secrets(path, before), without_secrets(path, after))
        for path, before, after in _differences("", deployed, found)
        if path not in _NOT_OURS
    )


def entry_drift(change: Change) -> DriftedObject | None:
    """The drift that a change would repair: a plan leads from what is found to what was deployed."""
    if change.action is Action.KEEP:
        return None
    states = {Action.CREATE: MISSING, Action.UPDATE: CHANGED, Action.DELETE: EXTRA}
    fields = tuple(DriftedField(one.path, one.after, one.before) for one in change.fields)
    return DriftedObject(change.kind, change.name, states[change.action], change.index, fields)


def overruled(declared: Iterable[Intention], stored: Mapping[str, ObservedEntry]) -> Iterator[DriftedObject]:
    """Rights that a spec declared, and that a rule without our mark decides otherwise; ``stored`` are the
    service-intentions entries by destination.
    """
    for one in declared:
        entry = stored.get(one.destination)
        for source in (entry.body.get("Sources") or ()) if entry else ():
            action = source.get("Action") or "allow"
            if (
                source["Name"] != one.source
                or is_ours(source)
                or (action, bool(source.get("Permissions")))
                == (
                    one.action,
                    bool(one.permissions),
                )
            ):
                continue
            field = DriftedField(f"Sources.{one.source}.Action", one.action, action)
            yield DriftedObject(INTENTIONS, one.destination, OVERRULED, entry.modify_index if entry else 0, (field,))


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after} - (_NOMADS if not path else frozenset())):
            yield from _differences(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif _named(before) and _named(after):
        yield from _differences(path, _by_name(before), _by_name(after))
    elif before != after and not (_empty(before) and _empty(after)):
        yield path, before, after


def _named(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _by_name(items: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    names = [str(next((item[key] for key in _NAMES if item.get(key)), number)) for number, item in enumerate(items)]
    if len(set(names)) < len(names):
        names = [str(number) for number in range(len(names))]
    return dict(zip(names, items, strict=True))


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", 0) or value in ({}, [])
