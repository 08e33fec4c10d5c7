"""Names -> the data that ships with the program: the platform's own jobs and the least-privilege policies.

In an installed wheel both folders lie inside the package, in a checkout beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

SERVERS = ("nomad", "consul", "vault")
"""The servers for which policies exist, in the order in which they are shown."""

_PLACEHOLDER = lazy_pattern(r"\{([a-z]+)\}")
_SAFE_VALUE = lazy_pattern(r"[A-Za-z0-9_*-]*")
_PACKAGE = Path(__file__).resolve().parent.parent


class UnknownDataError(LookupError):
    """There is no job or policy of that name; the text lists those that exist."""


class SettingError(ValueError):
    """A placeholder of a policy has no value, or one that cannot stand there."""


class Policy(Struct, frozen=True):
    """A policy as text in the server's language; ``purpose`` is its first line, ``settings`` the names it asks for."""

    server: str
    role: str
    purpose: str
    settings: tuple[str, ...]
    text: str


def list_policies() -> tuple[Policy, ...]:
    """Every policy that ships, by server and role, with its placeholders as they stand."""
    return tuple(
        _policy(server, path.stem)
        for server in SERVERS
        for path in sorted((_folder("policies") / server).glob("*.hcl"))
    )


def read_policy(server: str, role: str, settings: Mapping[str, str]) -> Policy:
    """A policy with its placeholders filled in from ``settings`` (namespace, services, gateway, egress).

    Raises UnknownDataError for an unknown server or role, SettingError for a value that could end a string
    of the policy's language, and for one that is missing.
    """
    policy = _policy(server, role)

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in settings:
            raise SettingError(f"the {server} policy {role} needs a value for {name}")
        if not _SAFE_VALUE.fullmatch(settings[name]):
            raise SettingError(f"{settings[name]!r} cannot stand in a policy; use letters, digits, - and _")
        return settings[name]

    return Policy(server, role, policy.purpose, policy.settings, _PLACEHOLDER.sub(fill, policy.text))


def policies_of_role(role: str, server: str | None, settings: Mapping[str, str]) -> tuple[Policy, ...]:
    """The policies of a role, for one server or for all that it has one for, filled in from ``settings``.

    Raises UnknownDataError and SettingError as ``read_policy``.
    """
    servers = [server] if server else [one.server for one in list_policies() if one.role == role]
    if not servers:
        roles = ", ".join(sorted({one.role for one in list_policies()}))
        raise UnknownDataError(f"there is no role {role!r}; there are: {roles}")
    return tuple(read_policy(one, role, settings) for one in servers)


def read_job(name: str) -> dict[str, Any]:
    """The job of ``jobspecs/NAME.json`` with its placeholders as they stand. Raises UnknownDataError."""
    path = _folder("jobspecs") / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.json")))
        raise UnknownDataError(f"no job {name!r} ships with hms-nomad; there are: {known}")
    job: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return job


def read_text(name: str) -> str:
    """A file of ``jobspecs/`` as it stands, such as "autoscaler.hcl". Raises UnknownDataError."""
    path = _folder("jobspecs") / name
    if not path.is_file():
        raise UnknownDataError(f"no file {name!r} ships with hms-nomad")
    return path.read_text(encoding="utf-8")


def deploy_rules_folder() -> Path:
    """The directory of the deploy rules that ship (``policies/deploy``)."""
    return _folder("policies") / "deploy"


def dashboards() -> dict[str, str]:
    """The dashboards for Grafana by the names of their files, as JSON text."""
    folder = _folder("jobspecs") / "telemetry" / "dashboards"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))}


def _policy(server: str, role: str) -> Policy:
    path = _folder("policies") / server / f"{role}.hcl"
    if server not in SERVERS or not path.is_file() or path.parent.name != server:
        known = ", ".join(sorted(f"{found.parent.name}/{found.stem}" for found in _folder("policies").glob("*/*.hcl")))
        raise UnknownDataError(f"there is no {server} policy {role!r}; there are: {known}")
    text = path.read_text(encoding="utf-8")
    first, _, body = text.partition("\n")
    names = tuple(sorted(set(_PLACEHOLDER.findall(body))))
    return Policy(server, role, first.removeprefix("# "), names, text)


def _folder(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
