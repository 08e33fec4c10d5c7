"""A compose file -> a draft for each of its services, and what of the file no spec can hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.document import MAX_BYTES
from hms_nomad.workflows.init.draft import CannotConvertError, Draft, label_of

_VARIABLE = lazy_pattern(
    r"\$(?:(?P<escaped>\$)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?+])(?P<rest>[^}]*))?\}"
    r"|(?P<plain>[A-Za-z_][A-Za-z0-9_]*))"
)
_SIZE = lazy_pattern(r"\s*([0-9.]+)\s*([kmg]?)b?\s*\Z", re.IGNORECASE)
_UNITS = {"": 1 / 1_048_576, "k": 1 / 1024, "m": 1, "g": 1024}
_CORE_MHZ = 1000
_USED = frozenset(
    {
        *("image", "build", "command", "entrypoint", "environment", "ports", "expose", "depends_on", "healthcheck"),
        *("volumes", "deploy", "user", "restart", "networks", "container_name", "mem_limit", "cpus", "scale"),
        *("env_file", "hostname", "links", "init"),
    }
)
_SAID_OTHERWISE = {
    "networks": "networks: the mesh says who may call whom",
    "hostname": "hostname: services are found as NAME.mesh",
    "links": "links: services are found as NAME.mesh; see uses",
    "env_file": "env_file: put its variables below env, secrets into Vault",
}


def drafts_of_compose(path: Path, service: str = "") -> tuple[Draft, ...]:
    """The drafts for the services of a compose file, or for the one that is named.

    Variables like ``${TAG:-1.0}`` become variables of the spec. Raises CannotConvertError and OSError.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise CannotConvertError(f"{path} is larger than 1 MiB")
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CannotConvertError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict) or not services or not all(isinstance(one, dict) for one in services.values()):
        raise CannotConvertError(f"{path} has no services")
    if service and service not in services:
        raise CannotConvertError(f"{path} has no service {service!r}; there is {', '.join(map(str, services))}")
    listening = {label_of(str(name)) for name, body in services.items() if body.get("ports") or body.get("expose")}
    around = [
        f"the top-level {key}" for key in data if key not in {"services", "version", "name", "volumes", "networks"}
    ]
    chosen = {service: services[service]} if service else services
    return tuple(_Conversion(str(name), body, listening, around).draft() for name, body in chosen.items())


class _Conversion:
    def __init__(self, name: str, body: Mapping[str, Any], listening: set[str], around: list[str]) -> None:
        self._name = name
        self._body = body
        self._listening = listening
        self._left = list(around)
        self._variables: dict[str, dict[str, Any]] = {}

    def draft(self) -> Draft:
        body = self._body
        name = label_of(self._name)
        if name != self._name:
            self._left.append(f"the name {self._name}: services have DNS labels, so this one is {name}")
        image = self._image(name)
        fields: dict[str, Any] = {
            "name": name,
            "version": self._version(image),
            "image": image,
            "args": self._words("command"),
            "user": str(body["user"]) if body.get("user") is not None else None,
            "port": self._port(),
            "health": self._health(),
            "env": self._environment(),
            "resources": self._resources(),
            "scaling": self._scaling(),
            "volumes": self._volumes(),
            "uses": self._uses(),
        }
        if body.get("entrypoint"):
            fields["nomad"] = {"task": {"Config": {"entrypoint": self._words("entrypoint")}}}
        self._left += [about for key, about in _SAID_OTHERWISE.items() if body.get(key)]
        self._left += [str(key) for key in body if key not in _USED]
        fields["variables"] = self._variables
        kept = {key: value for key, value in fields.items() if value not in (None, [], {})}
        return Draft(kept, tuple(dict.fromkeys(self._left)))

    def _text(self, value: Any) -> str:
        """A value with compose's variables as variables of the spec."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return _VARIABLE.sub(self._variable, text.replace("${var.", "$$${var."))

    def _variable(self, match: re.Match[str]) -> str:
        if match.group("escaped"):
            return "$"
        original = str(match.group("braced") or match.group("plain"))
        name = re.sub(r"[^a-z0-9_]", "_", original.lower()).lstrip("_0123456789")[:63] or "value"
        declared = self._variables.setdefault(name, {"description": f"Was {original}."})
        if (match.group("how") or "").endswith("-"):
            declared["default"] = match.group("rest")
        elif match.group("how"):
            self._left.append(f"the condition on {original}: {match.group()}")
        return f"${{var.{name}}}"

    def _image(self, name: str) -> str:
        if self._body.get("build"):
            self._left.append("build: build the image first, and name it below image")
        return self._text(self._body.get("image") or f"{name}:1.0.0")

    def _version(self, image: str) -> str:
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        return tag if tag and "${" not in tag and not image.endswith("}") else "1.0.0"

    def _words(self, key: str) -> list[str]:
        value = self._body.get(key)
        if isinstance(value, str):
            try:
                return [self._text(word) for word in shlex.split(value)]
            except ValueError:
                self._left.append(f"{key}: its quotes are not closed")
                return []
        return [self._text(word) for word in value or ()]

    def _port(self) -> int:
        for entry in [*(self._body.get("ports") or ()), *(self._body.get("expose") or ())]:
            target = str(entry.get("target", "") if isinstance(entry, Mapping) else entry).partition("/")[0]
            inner = target.rpartition(":")[2].partition("-")[0]
            if not inner.isdigit():
                continue
            published = entry.get("published") if isinstance(entry, Mapping) else ":" in target
            if published:
                self._left.append(f"the port {entry} of the host: callers use the mesh, the outside public routes")
            if len(self._body.get("ports") or ()) > 1:
                self._left.append("further ports: one service has one port")
            return int(inner)
        self._left.append("the port: none is said; 8080 stands here")
        return 8080

    def _health(self) -> dict[str, Any] | None:
        check = self._body.get("healthcheck")
        if not isinstance(check, Mapping) or check.get("disable"):
            return None
        test = check.get("test")
        words = ["CMD-SHELL", test] if isinstance(test, str) else [str(word) for word in test or ()]
        if not words or words[0] not in ("CMD", "CMD-SHELL"):
            return None
        command = ["sh", "-c", *words[1:]] if words[0] == "CMD-SHELL" else words[1:]
        self._left += [f"healthcheck.{key}" for key in check if key not in {"test", "interval", "timeout"}]
        interval, timeout = self._seconds(check.get("interval"), 30), self._seconds(check.get("timeout"), 10)
        found = {"kind": "command", "command": [self._text(word) for word in command], "interval": f"{interval}s"}
        return {**found, "timeout": f"{max(min(timeout, interval - 1), 1)}s"}

    def _seconds(self, value: Any, usual: int) -> int:
        parts = re.findall(r"([0-9.]+)(ms|s|m|h)", str(value or ""))
        total = sum(float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)
        return max(int(total), 2) if parts else usual

    def _environment(self) -> dict[str, str]:
        given = self._body.get("environment") or {}
        pairs = given.items() if isinstance(given, Mapping) else (str(one).partition("=")[::2] for one in given)
        found = {}
        for name, value in pairs:
            if name == "PORT":
                self._left.append("the variable PORT: it follows from port")
            elif value is None or (not isinstance(given, Mapping) and f"{name}=" not in map(_head, given)):
                found[str(name)] = self._text(f"${{{name}}}")
            else:
                found[str(name)] = self._text(value)
        return found

    def _resources(self) -> dict[str, int]:
        limits = ((self._body.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        memory = _SIZE.match(str(limits.get("memory") or self._body.get("mem_limit") or ""))
        found = {"memory": max(int(float(memory.group(1)) * _UNITS[memory.group(2).lower()]), 10)} if memory else {}
        cpus = str(limits.get("cpus") or self._body.get("cpus") or "")
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", cpus):
            found["cpu"] = max(int(float(cpus) * _CORE_MHZ), 1)
            self._left.append(f"cpus {cpus}: {found['cpu']} MHz stand here; a core has as many MHz as its node says")
        return found

    def _scaling(self) -> dict[str, int]:
        deploy = self._body.get("deploy") or {}
        replicas = deploy.get("replicas", self._body.get("scale"))
        self._left += [f"deploy.{key}" for key in deploy if key not in {"replicas", "resources"}]
        return {"min": replicas, "max": max(replicas, 1)} if isinstance(replicas, int) else {}

    def _volumes(self) -> dict[str, Any]:
        found = {}
        for entry in self._body.get("volumes") or ():
            if isinstance(entry, Mapping):
                source, path = str(entry.get("source") or ""), str(entry.get("target") or "")
                read_only = bool(entry.get("read_only"))
            else:
                source, _, rest = (
                    str(entry).rpartition(":") if str(entry).count(":") == 1 else str(entry).partition(":")
                )
                path, _, mode = rest.partition(":") if rest else (source, "", "")
                source = source if rest else ""
                read_only = "ro" in mode.split(",")
            kind = "bind" if source.startswith("/") else "host"
            if not source or source.startswith((".", "~")) or (isinstance(entry, Mapping) and entry.get("tmpfs")):
                self._left.append(f"the volume {entry}: put files below files, data into a volume of Nomad")
                continue
            one = {"kind": kind, "source": self._text(source), "path": path.rstrip("/"), "read_only": read_only}
            found[label_of(source)] = one
        return found

    def _uses(self) -> list[str]:
        names = [label_of(str(name)) for name in self._body.get("depends_on") or ()]
        self._left += [f"depends_on {name}: it has no port to call" for name in names if name not in self._listening]
        return sorted({name for name in names if name in self._listening})


def _head(entry: Any) -> str:
    name, sign, _ = str(entry).partition("=")
    return name + sign
