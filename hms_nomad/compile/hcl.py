"""A job struct -> HCL text for ``nomad job run``: readable, for people who want to leave the tool or to look.

What is registered is always the struct itself; this text stands for the same job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.nomad_fields import NomadField, nomad_fields

_MILLISECONDS = 1_000_000
_ESCAPE = lazy_pattern(r"\\.")
_AS_ATTRIBUTE = frozenset({"args"})


def job_to_hcl(job: Mapping[str, Any]) -> str:
    """HCL2 text that Nomad parses back to the same job. Raises KeyError for a field that Nomad's API does not have."""
    named = {"Name": job["Name"], **{key: value for key, value in job.items() if key != "ID"}}
    return "\n".join([f"job {_text(job['ID'])} {{", *_fields("Job", named, 1), "}", ""])


def _fields(section: str, value: Mapping[str, Any], depth: int) -> list[str]:
    fields = nomad_fields(section)
    # Groups and tasks stand last, where a reader looks for them.
    ordered = sorted(value, key=lambda key: key in ("TaskGroups", "Tasks"))
    return [line for key in ordered for line in _field(key, fields[key], value[key], depth)]


def _field(key: str, field: NomadField, item: Any, depth: int) -> list[str]:
    if item is None or field.kind == "#":
        return []
    if key == "Scaling":
        return _scaling(item, depth)
    if field.kind in ("m", "h", "a") and field.hcl not in _AS_ATTRIBUTE:
        return _mapping(field.hcl, item, depth)
    if field.section:
        parts = [item] if field.kind == ">" else item.values() if isinstance(item, Mapping) else item
        return [line for part in parts for line in _section(field, part, depth)]
    if field.kind == "d":
        whole, rest = divmod(item, _MILLISECONDS)
        return [f'{_pad(depth)}{field.hcl} = "{item if rest else whole}{"ns" if rest else "ms"}"']
    return [f"{_pad(depth)}{field.hcl} = {_value(item, depth)}"]


def _mapping(word: str, value: Mapping[str, Any], depth: int) -> list[str]:
    """A block of names, or an attribute where a name is one that no block may have."""
    if any(_key(name) != name for name in value):
        return [f"{_pad(depth)}{word} = {_value(value, depth)}"]
    return _block(word, [f"{_pad(depth + 1)}{name} = {_value(item, depth + 1)}" for name, item in value.items()], depth)


def _section(field: NomadField, value: Mapping[str, Any], depth: int) -> list[str]:
    """A block, with its label where the section has one."""
    labels = [key for key, inner in nomad_fields(field.section).items() if inner.kind == "#"]
    words = " ".join([field.hcl, *(_text(value.get(label) or "") for label in labels)])
    return _block(words, _fields(field.section, value, depth + 1), depth)


def _scaling(scaling: Mapping[str, Any], depth: int) -> list[str]:
    bounds = {key: scaling[key] for key in ("Enabled", "Min", "Max") if key in scaling}
    lines = _fields("ScalingPolicy", bounds, depth + 1)
    policy = dict(scaling.get("Policy") or {})
    inner = []
    for check in policy.pop("check", ()):
        for name, bodies in check.items():
            inner += _policy_check(name, bodies[0], depth + 2)
    settings = [f"{_pad(depth + 2)}{key} = {_value(value, depth + 2)}" for key, value in policy.items()]
    lines += _block("policy", settings + inner, depth + 1)
    return [f"{_pad(depth)}scaling {{", *lines, f"{_pad(depth)}}}"]


def _policy_check(name: str, check: Mapping[str, Any], depth: int) -> list[str]:
    settings = {k: v for k, v in check.items() if k not in ("strategy", "schedule")}
    lines = [f"{_pad(depth + 1)}{k} = {_value(v, depth + 1)}" for k, v in settings.items()]
    for times in check.get("schedule", ()):
        inner = [f"{_pad(depth + 2)}{key} = {_value(value, depth + 2)}" for key, value in times.items()]
        lines += _block("schedule", inner, depth + 1)
    for strategy in check.get("strategy", ()):
        for word, bodies in strategy.items():
            bounds = [f"{_pad(depth + 2)}{key} = {_value(value, depth + 2)}" for key, value in bodies[0].items()]
            lines += [f"{_pad(depth + 1)}strategy {_text(word)} {{", *bounds, f"{_pad(depth + 1)}}}"]
    return [f"{_pad(depth)}check {_text(name)} {{", *lines, f"{_pad(depth)}}}"]


def _block(word: str, lines: list[str], depth: int) -> list[str]:
    return [f"{_pad(depth)}{word} {{", *lines, f"{_pad(depth)}}}"]


def _value(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        inner = "".join(f"{_pad(depth + 1)}{_key(k)} = {_value(v, depth + 1)}\n" for k, v in value.items())
        return f"{{\n{inner}{_pad(depth)}}}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item, depth) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def _text(value: Any) -> str:
    """A quoted HCL string; template openings are doubled, so that they arrive as the same characters."""
    escaped = _ESCAPE.sub(_as_hcl, json.dumps(str(value), ensure_ascii=False))
    return escaped.replace("${", "$${").replace("%{", "%%{")


def _as_hcl(escape: re.Match[str]) -> str:
    """HCL knows no short escapes for backspace and form feed, unlike JSON."""
    return {r"\b": r"\u0008", r"\f": r"\u000c"}.get(escape.group(), escape.group())


def _key(name: str) -> str:
    return name if name.replace("_", "a").replace("-", "a").isalnum() and not name[0].isdigit() else _text(name)


def _pad(depth: int) -> str:
    return "  " * depth
