"""A task of a Nomad job -> the fields of a spec that say what it runs and what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.workflows.init.draft import CannotConvertError
from hms_nomad.workflows.init.secrets import is_ours, secrets_of

_DROPPED_CONFIG = frozenset({"image", "command", "args", "ports", "init", "extra_hosts", "network_mode"})
# A file of ours that is empty, or carries bytes.
_OWN_CONTENT = lazy_pattern(r'\{hms\{\{ "(?P<content>[A-Za-z0-9+/=]*)"(?P<base64> \| base64Decode)? \}\}hms\}\Z')
_KNOWN = frozenset(
    {
        *("Name", "Driver", "User", "Config", "Env", "Services", "Templates", "Constraints", "Affinities", "Resources"),
        *("Meta", "KillTimeout", "LogConfig", "Artifacts", "Leader", "KillSignal", "Lifecycle", "VolumeMounts", "Kind"),
        *("Actions", "RestartPolicy", "Identity"),
    }
)
"""Fields of a task that are carried over, or need not be."""


class TaskConversion:
    """Converts the tasks of one job; adds to ``left`` what no spec can hold."""

    def __init__(self, left: list[str]) -> None:
        self._left = left

    def program(
        self, task: Mapping[str, Any], where: str, other: Callable[[str, Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        """What a task runs, and what it is given; ``other`` takes the driver's settings that have no field."""
        config = dict(task.get("Config") or {})
        driver = task.get("Driver")
        arguments = [str(word) for word in config.get("args") or ()]
        command = [str(config["command"])] if config.get("command") else []
        if driver == "docker":
            fields: dict[str, Any] = {"image": str(config.get("image") or ""), "args": command + arguments}
        elif driver in ("exec", "raw_exec"):
            fields = {"command": command + arguments, "driver": driver}
        else:
            raise CannotConvertError(
                f"{where} {task.get('Name')} runs under {driver}; specs know docker, exec, raw_exec"
            )
        if config.pop("auth", None):
            self._left.append(f"{where} {task.get('Name')}: auth, which holds credentials of the registry")
        other("Config", {key: value for key, value in config.items() if key not in _DROPPED_CONFIG and value})
        fields["user"] = task.get("User") or None
        fields["env"] = self._environment(task, where)
        fields["resources"] = self._resources(task, where)
        fields["secrets"], templates = secrets_of(task)
        fields |= self._files(task, templates, where)
        fields["artifacts"] = self._artifacts(task, where)
        identity = task.get("Identity") or {}
        if identity.get("File") or identity.get("Env"):
            self._left.append(f"{where} {task.get('Name')}: its identity as a file or a variable")
        self._left += [
            f"{where} {task.get('Name')}: {key}"
            for key, value in task.items()
            if value and key not in _KNOWN and not is_ours(task, key)
        ]
        return {key: value for key, value in fields.items() if value not in ({}, [], None)}

    def _environment(self, task: Mapping[str, Any], where: str) -> dict[str, str]:
        kept = {}
        for name, value in (task.get("Env") or {}).items():
            if name == "PORT" or name.startswith("HMS_"):
                continue
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and not name.startswith("NOMAD_"):
                kept[name] = str(value)
            else:
                self._left.append(f"{where} {task.get('Name')}: the environment variable {name}")
        return kept

    def _resources(self, task: Mapping[str, Any], where: str) -> dict[str, int]:
        stored = task.get("Resources") or {}
        if stored.get("Cores"):
            self._left.append(f"{where} {task.get('Name')}: {stored['Cores']} whole cores; set resources.cpu in MHz")
        if stored.get("Devices") or stored.get("NUMA"):
            self._left.append(f"{where} {task.get('Name')}: devices and NUMA")
        found = {"cpu": stored.get("CPU"), "memory": stored.get("MemoryMB"), "memory_max": stored.get("MemoryMaxMB")}
        return {key: int(value) for key, value in found.items() if value}

    def _files(self, task: Mapping[str, Any], templates: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
        files: dict[str, Any] = {}
        rendered: dict[str, Any] = {}
        for template in templates:
            destination = str(template.get("DestPath") or "")
            text, left = template.get("EmbeddedTmpl") or "", template.get("LeftDelim") or "{{"
            below = destination.removeprefix("local/")
            if destination == "etc/hosts":
                continue
            if template.get("SourcePath") or template.get("Envvars") or below == destination:
                self._left.append(f"{where} {task.get('Name')}: the template {destination or '(unnamed)'}")
            elif (ours := _OWN_CONTENT.match(text)) is not None:
                base64 = {"base64": True} if ours.group("base64") else {}
                files[below] = {"content": ours.group("content"), "mode": template.get("Perms") or "0644", **base64}
            elif left not in text:
                files[below] = {"content": text, "mode": template.get("Perms") or "0644"}
            elif left == "{{":
                stored = str(template.get("ChangeMode") or "restart")
                change = {"noop": "none"}.get(stored, stored)
                rendered[below] = {"content": text, "mode": template.get("Perms") or "0644", "change": change}
                if template.get("Splay") is not None:
                    rendered[below]["splay"] = f"{int(template['Splay']) // 1_000_000}ms"
                if template.get("ChangeSignal"):
                    rendered[below]["signal"] = template["ChangeSignal"]
            else:
                self._left.append(f"{where} {task.get('Name')}: the template {destination}, with delimiters of its own")
        return {"files": files, "templates": rendered}

    def _artifacts(self, task: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
        found = []
        for artifact in task.get("Artifacts") or ():
            options = artifact.get("GetterOptions") or {}
            source = str(artifact.get("GetterSource") or "")
            if not options.get("checksum") or not re.match(r"https?://", source):
                self._left.append(
                    f"{where} {task.get('Name')}: the artifact {source}, which names no checksum or no URL"
                )
                continue
            one = {"source": source, "checksum": options["checksum"]}
            below = str(artifact.get("RelativeDest") or "").removeprefix("local/").strip("/")
            if below and below != "local":
                one["destination"] = below
            if options.get("archive") == "false":
                one["unpack"] = False
            found.append(one)
        return found
