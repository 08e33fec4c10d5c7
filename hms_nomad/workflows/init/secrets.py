"""The templates of a task that bring it secrets, as this program makes them -> the ``secrets`` of a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hms_nomad.compile.secrets import ENV_FILE, PREFIX
from hms_nomad.patterns import lazy_pattern

_SOURCE = lazy_pattern(r'\{\{ with (?P<how>secret|nomadVar) "(?P<path>[^"]+)" \}\}')
_FIELD = lazy_pattern(r'(?:(?P<name>\w+)=)?\{\{ with index (?P<values>\S+) "(?P<field>[^"]+)" \}\}')
_WHOLE = lazy_pattern(r"\{\{ range \$key, \$value := (?P<values>\S+) \}\}(?P<name>\w+)_\{\{ \$key")
_CERTIFICATE = lazy_pattern(
    r'\{\{ with pkiCert "[^"]+" "common_name=[^"]+" "alt_names=(?P<names>[^"]+)" "ttl=(?P<ttl>\w+)"'
)
_CHANGE = {"noop": "none"}
_KV = ".Data.data"


def secrets_of(task: Mapping[str, Any]) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """The secrets of a task as a spec says them, and the templates that are none of ours."""
    found: dict[str, Any] = {}
    others: list[Mapping[str, Any]] = []
    for template in task.get("Templates") or ():
        destination = str(template.get("DestPath") or "")
        own = destination.startswith("secrets/") and template.get("ErrMissingKey")
        read = (_variables if template.get("Envvars") else _file)(template, destination) if own else {}
        found |= read
        if not read:
            others.append(template)
    return found, others


def is_ours(task: Mapping[str, Any], key: str) -> bool:
    """Whether a field of a task only says how it logs in to Vault for its secrets."""
    if not str((task.get("Vault") or {}).get("Role") or "").startswith(PREFIX):
        return False
    return key in ("Vault", "Identities")


def _variables(template: Mapping[str, Any], destination: str) -> dict[str, Any]:
    if not destination.startswith(f"secrets/{ENV_FILE}"):
        return {}
    text = str(template.get("EmbeddedTmpl") or "")
    starts = [match.start() for match in _SOURCE.finditer(text)]
    found = {}
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = text[start:end]
        named = _WHOLE.search(part) or _FIELD.search(part)
        if named is None or not named.group("name"):
            return {}
        found[named.group("name")] = _changing(template, {"ref": _reference(part)})
    return found


def _file(template: Mapping[str, Any], destination: str) -> dict[str, Any]:
    text = str(template.get("EmbeddedTmpl") or "")
    below = destination.removeprefix("secrets/")
    certificate = _CERTIFICATE.match(text)
    if certificate is not None:
        names = certificate.group("names").split(",")
        one: dict[str, Any] = {"ref": "pki", "names": names, "ttl": certificate.group("ttl")}
    elif _SOURCE.match(text):
        one = {"ref": _reference(text)}
    else:
        return {}
    name = re.sub(r"\W", "_", below)
    return {name: _changing(template, {**one, "file": below, "mode": template.get("Perms") or "0600"})}


def _reference(text: str) -> str:
    source, field = _SOURCE.search(text), _FIELD.search(text)
    if source is None:
        return ""
    path = source.group("path")
    if source.group("how") == "nomadVar":
        place = f"nomad:var/{path}"
    else:
        place = f"vault:{path.replace('/data/', '/', 1) if _KV in text else path}"
    return f"{place}#{field.group('field')}" if field else place


def _changing(template: Mapping[str, Any], secret: dict[str, Any]) -> dict[str, Any]:
    change = str(template.get("ChangeMode") or "restart")
    secret["change"] = _CHANGE.get(change, change)
    return secret | ({"signal": template["ChangeSignal"]} if template.get("ChangeSignal") else {})
