"""Advice on secrets and on what breaks the walls between instances (HMS34x)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hms_nomad.patterns import lazy_pattern
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, spoken
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import Hit, check
from hms_nomad.spec.runnable import runnables

_SECRET_NAME = lazy_pattern(
    r"(?:^|_)(?:PASS|PASSWD|PASSWORD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET_?KEY|CREDENTIALS?)(?:_|$)",
    re.IGNORECASE,
)
_NO_SECRET_NAME = lazy_pattern(r"_(?:FILE|PATH|URL|URI|NAME|ID|TTL|HEADER|TYPE)$", re.IGNORECASE)
_SECRET_VALUE = lazy_pattern(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bhv[sbr]\.[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."
    r"|[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:[^\s/@]{1,100}@"
)
_SECRET_ARGUMENT = lazy_pattern(
    r"--?[a-z-]*(?:password|passwd|secret|token|api-?key)(?:=(?P<value>.+))?\Z", re.IGNORECASE
)
_REPLACED = lazy_pattern(
    r"\$\{(?:attr|meta|node|device|env|unique)\.[^}$\s]{1,200}\}|\$\{(?:NOMAD|VAULT|CONSUL)_[A-Z0-9_]{1,200}\}"
)
_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock")


@check(
    "HMS340",
    Level.WARNING,
    "A secret stands in the environment of the spec",
    reads=("env", "tasks"),
    fix="keep it in Vault, name it under secrets, and take it out of the file's history",
    example='env: {DB_PASSWORD: "hunter2"}',
)
def secret_in_env(spec: Spec) -> Iterator[Hit]:
    """Whoever may read the job, the repository or a saved plan reads the value too."""
    for at, task in runnables(spec):
        for name, value in task.env.items():
            if looks_secret(name, value):
                yield Hit((*at, "env", name), f"{spoken((*at, 'env', name))} looks like a secret")


@check(
    "HMS341",
    Level.WARNING,
    "A secret stands among the arguments",
    reads=("command", "args", "tasks"),
    fix="let the program read it from a file",
    example="command: [python3, app.py, --password=hunter2]",
)
def secret_in_arguments(spec: Spec) -> Iterator[Hit]:
    """Arguments are seen by everybody on the node who may list processes."""
    for at, task in runnables(spec):
        for section, words in (("command", task.command), ("args", task.args)):
            for index, word in enumerate(words):
                option = _SECRET_ARGUMENT.match(word)
                follows = index + 1 < len(words) and not words[index + 1].startswith(("-", "/"))
                if (option and (option.group("value") or follows)) or _SECRET_VALUE.search(word):
                    place = (*at, section, index)
                    yield Hit(place, f"{spoken(place)} looks like it carries a secret")


@check(
    "HMS342",
    Level.WARNING,
    "A privileged container",
    reads=("nomad",),
    fix="remove it, or add the one capability that is needed",
    example="nomad:\n  task: {Config: {privileged: true}}",
)
def privileged(spec: Spec) -> Iterator[Hit]:
    """A privileged container is root on its node: a hole in the service is a hole in everything beside it."""
    if _config(spec).get("privileged") is True:
        yield Hit(("nomad", "task", "Config", "privileged"), "the container is privileged", at_key=True)


@check(
    "HMS343",
    Level.WARNING,
    "The network of the host",
    reads=("nomad",),
    fix="remove it; services are reached through the mesh",
    example="nomad:\n  task: {Config: {network_mode: host}}",
)
def host_network(spec: Spec) -> Iterator[Hit]:
    """On the host's network everybody reaches the port without the mesh, and none of its rules holds."""
    if _config(spec).get("network_mode") == "host":
        yield Hit(
            ("nomad", "task", "Config", "network_mode"), "the container uses the network of the host", at_key=True
        )
    networks = _part(spec, "group").get("Networks")
    for index, network in enumerate(networks if isinstance(networks, list) else ()):
        if isinstance(network, Mapping) and network.get("Mode") == "host":
            yield Hit(("nomad", "group", "Networks", index), "the group uses the network of the host")


@check(
    "HMS344",
    Level.WARNING,
    "A process without walls",
    reads=("nomad", "driver", "tasks"),
    fix="use exec, which isolates files, processes and memory",
    example="command: [python3, app.py]\ndriver: raw_exec",
)
def raw_exec(spec: Spec) -> Iterator[Hit]:
    """``raw_exec`` runs the program as the agent's user, mostly root, among all files and processes of the node."""
    for at, task in runnables(spec):
        if task.driver == "raw_exec":
            yield Hit((*at, "driver"), f"{spoken((*at, 'driver'))} is raw_exec")
    if _part(spec, "task").get("Driver") == "raw_exec":
        yield Hit(("nomad", "task", "Driver"), "the task runs under raw_exec")


@check(
    "HMS345",
    Level.WARNING,
    "Files of the node are mounted",
    reads=("nomad",),
    fix="use a volume of Nomad",
    example="nomad:\n  task: {Config: {volumes: [/var/run/docker.sock:/var/run/docker.sock]}}",
)
def host_paths(spec: Spec) -> Iterator[Hit]:
    """A path of the node ties the service to that node, and the socket of a container engine is root on it."""
    config = _config(spec)
    for key in ("volumes", "mounts", "mount"):
        entries = config.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            source = entry if isinstance(entry, str) else str(dict(entry).get("source", "")) if _bind(entry) else ""
            if source.startswith("/"):
                what = (
                    "the container engine's socket"
                    if any(name in source for name in _SOCKETS)
                    else "a path of the node"
                )
                yield Hit(("nomad", "task", "Config", key, index), f"{what} is mounted")


@check(
    "HMS346",
    Level.WARNING,
    "More rights than a service needs",
    reads=("nomad",),
    fix="remove what the service does not need",
    example="nomad:\n  task: {Config: {cap_add: [SYS_ADMIN]}}",
)
def added_rights(spec: Spec) -> Iterator[Hit]:
    """Added capabilities, devices and the name spaces of the host weaken the wall around the container."""
    config = _config(spec)
    for key in ("cap_add", "devices", "security_opt", "sysctl"):
        if config.get(key):
            yield Hit(("nomad", "task", "Config", key), f"{key} widens what the container may do", at_key=True)
    for key in ("pid_mode", "ipc_mode", "userns_mode", "cgroupns"):
        if config.get(key) == "host":
            yield Hit(("nomad", "task", "Config", key), f"{key} is host", at_key=True)


@check(
    "HMS347",
    Level.WARNING,
    "The service runs as root",
    reads=("nomad", "user", "tasks"),
    fix="name an ordinary user",
    example="user: root",
)
def runs_as_root(spec: Spec) -> Iterator[Hit]:
    """A hole in a service that runs as root gives the finder root inside its walls."""
    for at, task in runnables(spec):
        if (task.user or "").partition(":")[0] in {"root", "0"}:
            yield Hit((*at, "user"), f"{spoken((*at, 'user'))} is root")
    if str(_part(spec, "task").get("User", "")).partition(":")[0] in {"root", "0"}:
        yield Hit(("nomad", "task", "User"), "the task runs as root")


@check(
    "HMS348",
    Level.INFO,
    "Nomad replaces part of a value",
    reads=("env", "command", "args", "health", "tasks"),
    fix="keep it only if that is what you want",
    example="env: {NODE: '${node.unique.name}'}",
)
def replaced_by_nomad(spec: Spec) -> Iterator[Hit]:
    """When the task starts, Nomad puts attributes of the node or its own variables in its place."""
    texts: list[tuple[Path, str]] = []
    for at, task in runnables(spec):
        texts += [((*at, "env", name), value) for name, value in task.env.items()]
        texts += [((*at, "command", index), word) for index, word in enumerate(task.command)]
        texts += [((*at, "args", index), word) for index, word in enumerate(task.args)]
        texts += [((*at, "artifacts", index, "source"), one.source) for index, one in enumerate(task.artifacts)]
    for path, value in texts:
        if _REPLACED.search(value):
            yield Hit(path, f"{spoken(path)} contains an expression that Nomad replaces")


def looks_secret(name: str, value: str) -> bool:
    """True when an environment variable seems to hold a secret, by its name or by the form of its value."""
    named = _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name) and not value.startswith("/")
    return bool(value and (named or _SECRET_VALUE.search(value)))


def holds_secret(text: str) -> bool:
    """True when a text contains what has the form of a secret, for example a private key."""
    return bool(_SECRET_VALUE.search(text))


def _part(spec: Spec, name: str) -> Mapping[str, Any]:
    part = spec.nomad.get(name)
    return part if isinstance(part, Mapping) else {}


def _config(spec: Spec) -> Mapping[str, Any]:
    config = _part(spec, "task").get("Config")
    return config if isinstance(config, Mapping) else {}


def _bind(entry: Any) -> bool:
    return isinstance(entry, Mapping) and entry.get("type", "bind") == "bind"
