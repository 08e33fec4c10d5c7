"""Stored service-intentions -> may this caller make this request, and which rule decides: Consul's own evaluation.

One intention decides: the one whose destination and source are named most exactly. Its permissions are tried in
order; where none fits, the default of the mesh holds, and no other intention is looked at (Consul documentation,
"Service intentions", precedence and match order).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

ANYBODY = "*"
_MARK = "hms-nomad: "


class Request(Struct, frozen=True):
    """What a caller wants to do; header names count in any case."""

    method: str
    path: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Decision(Struct, frozen=True):
    """Whether a caller may, and why.

    ``allowed`` is None when it depends on the request and none was given: ``only`` then says what is allowed.
    ``rule`` names the rule that decides; ``declared_by`` says which fields of specs made it ("" for an operator's).
    ``needs`` are conditions that cannot be seen from here, such as a valid token.
    """

    allowed: bool | None
    rule: str
    declared_by: str = ""
    only: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def decide(
    source: str,
    destination: str,
    entries: Mapping[str, Mapping[str, Any]],
    default_allow: bool,
    request: Request | None = None,
) -> Decision:
    """Whether ``source`` may call ``destination``; ``entries`` are the service-intentions bodies by destination."""
    found = deciding_source(source, destination, entries)
    if found is None:
        return Decision(default_allow, f"no intention speaks of it: the mesh's default is {_word(default_allow)}")
    target, rule = found
    where = f"service-intentions {target}: source {rule['Name']}"
    declared = declarations(rule)
    needs = _token_needs(entries[target])
    permissions: Sequence[Mapping[str, Any]] = rule.get("Permissions") or ()
    if not permissions:
        allowed = rule.get("Action") == "allow"
        return Decision(allowed, f"{where}: {rule.get('Action')}", declared, needs=needs if allowed else ())
    if request is None:
        return _by_request(permissions, where, declared, default_allow, needs)
    for number, permission in enumerate(permissions, start=1):
        if fits(permission.get("HTTP") or {}, request):
            allowed = permission.get("Action") == "allow"
            words = f"{where}: permission {number}: {permission.get('Action')} {spoken(permission)}"
            return Decision(allowed, words, declared, needs=(*needs, *_token_needs(permission)) if allowed else ())
    words = f"{where}: none of its {len(permissions)} permissions fits: the mesh's default is {_word(default_allow)}"
    return Decision(default_allow, words, declared)


def deciding_source(
    source: str, destination: str, entries: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Mapping[str, Any]] | None:
    """The destination's name as the entry writes it and the source in it that decides; None when nothing fits."""
    for target in (destination, ANYBODY):
        sources = (entries.get(target) or {}).get("Sources") or ()
        for name in (source, ANYBODY):
            for rule in sources:
                if rule["Name"] == name and not rule.get("Peer"):
                    return target, rule
    return None


def fits(match: Mapping[str, Any], request: Request) -> bool:
    """Whether an intention's HTTP permission covers a request; the query is no part of the path."""
    path = request.path.partition("?")[0]
    methods = match.get("Methods") or ()
    return (
        (not match.get("PathExact") or path == match["PathExact"])
        and (not match.get("PathPrefix") or path.startswith(match["PathPrefix"]))
        and (not match.get("PathRegex") or _matches(match["PathRegex"], path))
        and (not methods or request.method.upper() in [method.upper() for method in methods])
        and all(_header_fits(header, request.headers) for header in match.get("Header") or ())
    )


def spoken(permission: Mapping[str, Any]) -> str:
    """A permission as people say it: "POST /receipt", "* /files...", "GET ~/r/[0-9]+"."""
    match = permission.get("HTTP") or {}
    methods = ",".join(match.get("Methods") or ()) or "*"
    path = match.get("PathExact") or ""
    if match.get("PathPrefix"):
        path = f"{match['PathPrefix']}..."
    elif match.get("PathRegex"):
        path = f"~{match['PathRegex']}"
    headers = "".join(f" with header {header.get('Name')}" for header in match.get("Header") or ())
    return f"{methods} {path or '/...'}{headers}"


def declarations(source: Mapping[str, Any]) -> str:
    """Which fields of specs made a source of an intention: "uses", "allow,public"; "" for one of an operator."""
    description = str(source.get("Description") or "")
    return description.removeprefix(_MARK) if description.startswith(_MARK) else ""


def allowances(source: Mapping[str, Any]) -> tuple[str, ...]:
    """What a source may do, in words; empty when nothing, ("everything",) when all."""
    permissions = source.get("Permissions") or ()
    if not permissions:
        return ("everything",) if source.get("Action") == "allow" else ()
    return tuple(spoken(permission) for permission in permissions if permission.get("Action") == "allow")


def _by_request(
    permissions: Sequence[Mapping[str, Any]], where: str, declared: str, default_allow: bool, needs: tuple[str, ...]
) -> Decision:
    """What can be said without a request: all, nothing, or what it depends on."""
    tried: list[Mapping[str, Any]] = []
    otherwise = default_allow
    for permission in permissions:
        if _covers_all(permission.get("HTTP") or {}):
            otherwise = permission.get("Action") == "allow"
            break
        tried.append(permission)
    words = f"{where}: {len(permissions)} {'permission' if len(permissions) == 1 else 'permissions'}"
    others = [spoken(permission) for permission in tried if (permission.get("Action") == "allow") != otherwise]
    if not others:
        return Decision(otherwise, words, declared, needs=needs if otherwise else ())
    only = (f"everything but {', '.join(others)}",) if otherwise else tuple(others)
    return Decision(None, words, declared, only, needs)


def _covers_all(match: Mapping[str, Any]) -> bool:
    limited = any(match.get(key) for key in ("PathExact", "PathRegex", "Methods", "Header"))
    return not limited and match.get("PathPrefix") in (None, "", "/")


def _header_fits(rule: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    name = str(rule.get("Name") or "").lower()
    value = next((text for key, text in headers.items() if key.lower() == name), None)
    found = value is not None and all(
        (
            not rule.get("Exact") or value == rule["Exact"],
            not rule.get("Prefix") or value.startswith(rule["Prefix"]),
            not rule.get("Suffix") or value.endswith(rule["Suffix"]),
            not rule.get("Contains") or rule["Contains"] in value,
            not rule.get("Regex") or _matches(rule["Regex"], value),
        )
    )
    return found != bool(rule.get("Invert"))


def _matches(pattern: str, text: str) -> bool:
    """Envoy compares the whole text; a pattern that only Envoy's engine understands fits nothing here."""
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return False


def _token_needs(rule: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_token_words(rule.get("JWT") or {}))


def _token_words(jwt: Mapping[str, Any]) -> Iterator[str]:
    providers = [str(provider.get("Name")) for provider in jwt.get("Providers") or ()]
    if providers:
        yield f"a valid token of {' or '.join(providers)}"


def _word(allow: bool) -> str:
    return "allow" if allow else "deny"
