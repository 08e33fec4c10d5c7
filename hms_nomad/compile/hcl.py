"""A compiled job -> HCL text for people and for ``nomad job validate``; what is sent to Nomad is always the struct."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_MILLISECONDS = 1_000_000
_ESCAPE = re.compile(r"\\.")
_DURATIONS = frozenset(
    {
        "ShutdownDelay", "KillTimeout", "MinHealthyTime", "HealthyDeadline", "ProgressDeadline", "Interval", "Delay",
        "MaxDelay", "Timeout", "Stagger", "Splay",
    }
)  # fmt: skip
_ATTRIBUTES = {
    "Type": "type", "Namespace": "namespace", "Region": "region", "Datacenters": "datacenters", "NodePool": "node_pool",
    "Priority": "priority", "AllAtOnce": "all_at_once", "Count": "count", "ShutdownDelay": "shutdown_delay",
    "Mode": "mode", "Driver": "driver", "User": "user", "KillTimeout": "kill_timeout", "KillSignal": "kill_signal",
    "Leader": "leader", "CPU": "cpu", "Cores": "cores", "MemoryMB": "memory", "MemoryMaxMB": "memory_max",
    "MaxFiles": "max_files", "MaxFileSizeMB": "max_file_size", "MaxParallel": "max_parallel",
    "HealthCheck": "health_check", "MinHealthyTime": "min_healthy_time", "HealthyDeadline": "healthy_deadline",
    "ProgressDeadline": "progress_deadline", "AutoRevert": "auto_revert", "AutoPromote": "auto_promote",
    "Canary": "canary", "Attempts": "attempts", "Interval": "interval", "Delay": "delay",
    "DelayFunction": "delay_function", "MaxDelay": "max_delay", "Unlimited": "unlimited", "Min": "min", "Max": "max",
    "Enabled": "enabled", "PortLabel": "port", "Provider": "provider", "Path": "path", "Method": "method",
    "Timeout": "timeout", "OnUpdate": "on_update", "TaskName": "task", "Command": "command", "Args": "args",
    "DisableDefaultTCPCheck": "disable_default_tcp_check",
    "Protocol": "protocol", "LocalPathPort": "local_path_port", "ListenerPort": "listener_port",
    "DestinationName": "destination_name", "DestinationType": "destination_type",
    "LocalBindAddress": "local_bind_address", "LocalBindPort": "local_bind_port", "To": "to", "Value": "static",
    "Label": "label", "URL": "url", "Description": "description", "Name": "name", "LTarget": "attribute",
    "DestPath": "destination", "EmbeddedTmpl": "data", "ChangeMode": "change_mode", "ChangeSignal": "change_signal",
    "LeftDelim": "left_delimiter", "RightDelim": "right_delimiter", "Perms": "perms", "Splay": "splay",
    "ErrMissingKey": "error_on_missing_key", "GetterSource": "source", "GetterMode": "mode",
    "RelativeDest": "destination", "Volume": "volume", "Destination": "destination", "ReadOnly": "read_only",
    "Source": "source", "AccessMode": "access_mode", "AttachmentMode": "attachment_mode", "Hook": "hook",
    "GRPCService": "grpc_service", "Specs": "crons", "ProhibitOverlap": "prohibit_overlap", "TimeZone": "time_zone",

    "Sidecar": "sidecar",
    "RTarget": "value", "Operand": "operator", "Attribute": "attribute", "Weight": "weight", "Percent": "percent",
}  # fmt: skip
_BLOCKS = {
    "UI": "ui", "Links": "link", "Networks": "network", "Update": "update", "RestartPolicy": "restart",
    "ReschedulePolicy": "reschedule", "Services": "service", "Checks": "check", "Connect": "connect",
    "SidecarService": "sidecar_service", "SidecarTask": "sidecar_task", "Proxy": "proxy", "Expose": "expose",
    "Paths": "path", "Upstreams": "upstreams", "Resources": "resources", "LogConfig": "logs",
    "Periodic": "periodic",
    "Templates": "template", "Artifacts": "artifact", "VolumeMounts": "volume_mount", "Lifecycle": "lifecycle",
    "Constraints": "constraint", "Affinities": "affinity", "Spreads": "spread",
}  # fmt: skip
_LABELLED = {
    "DynamicPorts": "port",
    "ReservedPorts": "port",
    "SpreadTarget": "target",
    "Actions": "action",
    "Volumes": "volume",
}
_MAPS = {"Env": "env", "Meta": "meta", "Config": "config", "GetterOptions": "options"}


def job_to_hcl(job: Mapping[str, Any]) -> str:
    """HCL2 text that Nomad parses back to the same job. Raises KeyError for a field that has no HCL name here."""
    body = {key: value for key, value in job.items() if key not in ("ID", "TaskGroups", "Name")}
    lines = [f"job {_text(job['ID'])} {{", f"  name = {_text(job['Name'])}", *_fields(body, 1)]
    for group in job["TaskGroups"]:
        lines += _labelled("group", group, 1)
    return "\n".join([*lines, "}", ""])


def _labelled(word: str, value: Mapping[str, Any], depth: int) -> list[str]:
    label = value.get("Name") or value.get("Label") or value.get("Attribute") or value.get("Value")
    label_keys = ("Name", "Label", "Tasks", *(("Value",) if word == "target" else ()))
    rest = {key: item for key, item in value.items() if key not in label_keys}
    lines = [f"{_pad(depth)}{word} {_text(label)} {{", *_fields(rest, depth + 1)]
    for task in value.get("Tasks", ()):
        lines += _labelled("task", task, depth + 1)
    return [*lines, f"{_pad(depth)}}}"]


def _fields(value: Mapping[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        lines += _field(key, item, depth)
    return lines


def _field(key: str, item: Any, depth: int) -> list[str]:
    if key == "Scaling":
        return _scaling(item, depth)
    if key in _MAPS:
        return _block(
            _MAPS[key], [f"{_pad(depth + 1)}{_key(k)} = {_value(v, depth + 1)}" for k, v in item.items()], depth
        )
    if key in _LABELLED:
        elements = item.values() if isinstance(item, Mapping) else item
        return [line for element in elements for line in _labelled(_LABELLED[key], element, depth)]
    if key in _BLOCKS:
        elements = item if isinstance(item, Sequence) else [item]
        return [line for element in elements for line in _block(_BLOCKS[key], _fields(element, depth + 1), depth)]
    if key in _DURATIONS:
        return [f'{_pad(depth)}{_ATTRIBUTES[key]} = "{item // _MILLISECONDS}ms"']
    return [f"{_pad(depth)}{_ATTRIBUTES[key]} = {_value(item, depth)}"]


def _scaling(scaling: Mapping[str, Any], depth: int) -> list[str]:
    lines = _fields({key: scaling[key] for key in ("Enabled", "Min", "Max")}, depth + 1)
    policy = dict(scaling["Policy"])
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
