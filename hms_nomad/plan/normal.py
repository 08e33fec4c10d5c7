"""Normal forms: what the servers add, reorder or rewrite by themselves is no difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.plan.change import FieldChange
from hms_nomad.plan.hiding import without_secrets

_SERVER_KEYS = frozenset({"CreateIndex", "ModifyIndex", "Hash", "Status", "Namespace", "Partition", "Precedence"})
_GO_DURATION = r"^(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+$"
_GO_UNIT = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)"
_UNITS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}
_DURATION_KEYS = frozenset({"ConnectTimeout", "RequestTimeout", "IdleTimeout", "Interval", "BaseEjectionTime"})
_EXTENSION = "Arguments"
_EXACT_MAPS = frozenset({"Env", "Meta", "Config", "Policy", "GetterOptions"})
_EXACT_LISTS = frozenset({"Checks", "Upstreams", "Paths", "SpreadTarget"})
_EXACT_PATHS = frozenset(
    {"Constraints", "Spreads", "UI", "UI.Description", "UI.Links", "Periodic", "TaskGroups.app.Volumes"}
)
_EXACT_PART = lazy_pattern(
    r"TaskGroups\.app\.(Volumes\.[^.]+"
    r"|Tasks\.[^.]+\.(Actions|User|Resources\.MemoryMaxMB|Lifecycle|Templates|Artifacts|VolumeMounts))\Z"
)
_OWN_TASKS = "TaskGroups.app.Tasks"
_SIDECAR = "connect-"
"""Fields that Nomad leaves as they were sent: one that is stored and not in the spec was taken away."""

_ELEMENT_NAMES = ("Name", "Label", "DestinationName", "Path", "ID", "DestPath", "Volume")
ATTEMPT_KEY = "attempt"
"""Key in the task's meta that makes Nomad deploy an equal job once more."""

_NOT_OURS = frozenset(
    {
        "TaskGroups.app.Count",
        "TaskGroups.app.Update.AutoPromote",
        "TaskGroups.app.Update.Canary",
        f"TaskGroups.app.Tasks.app.Meta.{ATTEMPT_KEY}",
    }
)


def normal_entry(body: Mapping[str, Any]) -> dict[str, Any]:
    """A config entry without what Consul adds: bookkeeping keys and empty values go, durations become nanoseconds,
    methods upper case. Where an extension of proxies has a list of one mapping, Consul 1.20 keeps the mapping.

    Sources of service-intentions become a mapping by name, because Consul sorts them by precedence.
    """
    cleaned: dict[str, Any] = _clean(body)
    if isinstance(cleaned.get("Sources"), list):
        cleaned["Sources"] = {
            source["Name"]: {k: v for k, v in source.items() if k != "Type"} for source in cleaned["Sources"]
        }
    return cleaned


def entry_differences(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Field by field what writing ``after`` over a config entry changes; empty when both mean the same."""
    return tuple(_exact("", normal_entry(before) if before else {}, normal_entry(after)))


def job_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Field by field what registering ``after`` over the stored job ``before`` would change.

    Only what we send is compared, since Nomad fills in defaults, ports and the sidecar task; maps that belong to the
    user (environment, meta, driver configuration) are compared whole. The count is left out: it belongs to the
    autoscaler. Whatever looks like a secret is hidden.
    """
    return tuple(_hide(change) for change in _subset("", before, after) if change.path not in _NOT_OURS)


def _clean(value: Any, key: str = "", *, extension: bool = False) -> Any:
    if isinstance(value, str):
        if key in _DURATION_KEYS and re.match(_GO_DURATION, value):
            return int(sum(float(n) * _UNITS[unit] for n, unit in re.findall(_GO_UNIT, value)))
        return value
    if isinstance(value, list | tuple):
        items = [_clean(item, extension=extension) for item in value]
        if extension and len(items) == 1 and isinstance(items[0], Mapping):
            return items[0]
        return [item.upper() for item in items] if key == "Methods" else items
    if isinstance(value, Mapping):
        within = extension or key == _EXTENSION
        cleaned = {k: _clean(v, k, extension=within) for k, v in value.items() if k not in _SERVER_KEYS}
        return {k: kept for k, kept in cleaned.items() if kept}
    return value


def _exact(path: str, before: Any, after: Any) -> list[FieldChange]:
    if before == after:
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = sorted(set(before) | set(after))
        return [c for key in keys for c in _exact(_join(path, key), before.get(key), after.get(key))]
    return [FieldChange(path, before, after)]


def _subset(path: str, before: Any, after: Any) -> list[FieldChange]:
    if before is after:
        return []
    last = path.rsplit(".", 1)[-1]
    if isinstance(after, Mapping):
        stored = before if isinstance(before, Mapping) else {}
        if last in _EXACT_MAPS:
            return _exact(path, stored, after)
        changes = [c for key, value in after.items() for c in _subset(_join(path, key), stored.get(key), value)]
        missing = [
            key for key, value in stored.items() if value and key not in after and _exactly_ours(_join(path, key))
        ]
        return changes + [FieldChange(_join(path, key), stored[key], None) for key in missing]
    if isinstance(after, list | tuple):
        return _lists(path, before or [], after, exact=_exactly_ours(path))
    if before == after or not (before or after):
        return []
    return [FieldChange(path, before, after)]


def _lists(path: str, before: Sequence[Any], after: Sequence[Any], *, exact: bool) -> list[FieldChange]:
    if not after or not isinstance(after[0], Mapping):
        if exact or not isinstance(next(iter(before), None), Mapping):
            return [] if list(before) == list(after) else [FieldChange(path, list(before) or None, list(after))]
        return []
    stored = {_element_name(item, number): item for number, item in enumerate(before)}
    wanted = {_element_name(item, number): item for number, item in enumerate(after)}
    changes = [c for name, item in wanted.items() for c in _subset(_join(path, name), stored.get(name), item)]
    if exact:
        gone = [name for name in stored if name not in wanted]
    else:
        # Nomad adds the sidecar's task; every other one beside ours was one of ours.
        gone = [name for name in stored if path == _OWN_TASKS and name not in wanted and not name.startswith(_SIDECAR)]
    changes += [FieldChange(_join(path, name), stored[name], None) for name in gone]
    return changes


def _exactly_ours(path: str) -> bool:
    return path in _EXACT_PATHS or path.rsplit(".", 1)[-1] in _EXACT_LISTS or bool(_EXACT_PART.match(path))


def _element_name(item: Mapping[str, Any], number: int) -> str:
    return str(next((item[key] for key in _ELEMENT_NAMES if item.get(key)), number))


def _hide(change: FieldChange) -> FieldChange:
    path = change.path
    return FieldChange(path, without_secrets(path, change.before), without_secrets(path, change.after))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
