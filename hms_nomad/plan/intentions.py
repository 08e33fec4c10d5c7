"""Who may call whom: our sources laid into service-intentions entries that several specs, and operators, share.

Consul keeps one entry per destination, so a caller's ``uses`` and the owner's ``allow`` meet in it. The description
of a source says which of our specs declared it; sources without such a description belong to operators and are kept
as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hms_nomad.compile.desired import OWNER, OWNER_KEY, Desired, Intention
from hms_nomad.compile.routes import permissions_of_router

KIND = "service-intentions"
_MARK = "hms-nomad: "


def merged_intentions(
    desired: Desired,
    stored: Mapping[str, Mapping[str, Any]],
    routers: Mapping[str, Mapping[str, Any]],
    callees: Iterable[str] | None = None,
) -> dict[str, dict[str, Any] | None]:
    """The service-intentions entries that a spec touches, by destination; None where the entry is to be deleted.

    ``stored`` are the bodies of existing entries by destination, ``routers`` the bodies of existing service-router
    entries: a caller learns from its dependency's router which paths and methods it may be allowed. ``callees`` are
    the destinations whose entries name the service as a source, where they are known already.
    """
    service = desired.service
    wanted: dict[str, list[Intention]] = {service: []}
    for intention in desired.intentions:
        wanted.setdefault(intention.destination, []).append(intention)
    for destination in stored if callees is None else callees:
        body = stored[destination]
        if any(source["Name"] == service and _is_declared(source, "uses") for source in _sources(body)):
            wanted.setdefault(destination, [])
    result: dict[str, dict[str, Any] | None] = {}
    for destination, intentions in wanted.items():
        own = destination == service
        permissions = _narrowing(desired.permissions) if own else permissions_of_router(routers.get(destination))
        sources = _merge(service, own, intentions, _sources(stored.get(destination)), permissions)
        result[destination] = _entry(destination, sources, stored.get(destination)) if sources else None
    return result


def declared_intentions(service: str, stored: Mapping[str, Mapping[str, Any]]) -> tuple[Intention, ...]:
    """What a service's spec once declared, read back from the service-intentions entries by destination."""
    found = []
    for destination, body in sorted(stored.items()):
        for source in _sources(body):
            words = _declarations(source)
            mine = words & {"allow", "default", "public"} if destination == service else set[str]()
            if destination != service and source["Name"] == service:
                mine = words & {"uses"}
            permissions = tuple(source.get("Permissions") or ()) if "public" in mine else None
            action = source.get("Action") or "allow"
            if mine == {"default"}:
                permissions, action = tuple(source.get("Permissions") or ()) or None, "deny"
            found += [Intention(source["Name"], destination, word, action, permissions) for word in sorted(mine)]
    return tuple(found)


def is_ours(source: Mapping[str, Any]) -> bool:
    """Whether a source of a service-intentions entry was declared by a spec; all others belong to operators."""
    return bool(_declarations(source))


def declarers(source: Mapping[str, Any], destination: str) -> frozenset[str]:
    """The services whose specs declared a source of the service-intentions entry of ``destination``; none: operators'.

    A caller's spec declares what it uses, the destination's spec everything else.
    """
    return frozenset(str(source["Name"]) if word == "uses" else destination for word in _declarations(source))


def _narrowing(permissions: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Permissions as callers read them off the router: one that allows everything is none at all."""
    return () if any(one.get("HTTP") == {"PathPrefix": "/"} for one in permissions) else permissions


def _merge(
    service: str,
    own: bool,
    intentions: Iterable[Intention],
    stored: Sequence[Mapping[str, Any]],
    permissions: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    declared: dict[str, set[str]] = {}
    actions: dict[str, str] = {}
    narrowed: dict[str, Sequence[Mapping[str, Any]]] = {}
    kept: list[dict[str, Any]] = []
    for source in stored:
        words = _declarations(source)
        # The gateway's permissions are its own: only the destination's spec knows them.
        if not words or ("public" in words and not own):
            kept.append(dict(source))
            continue
        # What this spec declares is rebuilt from the spec; what others declared stays.
        mine = {"allow", "default", "public"} if own else ({"uses"} if source["Name"] == service else set())
        if remaining := words - mine:
            declared[source["Name"]] = remaining
            actions[source["Name"]] = source.get("Action") or "allow"
            if remaining == {"default"}:
                # It refuses, as a whole or by permissions, and stays so.
                actions[source["Name"]] = "deny"
                narrowed[source["Name"]] = tuple(source.get("Permissions") or ())
    for intention in intentions:
        declared.setdefault(intention.source, set()).add(intention.declared_by)
        actions[intention.source] = intention.action
        if intention.permissions is not None:
            narrowed[intention.source] = intention.permissions
    # A source that is allowed for another reason too gets what every caller gets.
    alone = ({"public"}, {"default"})
    rights = {name: narrowed[name] if declared[name] in alone else permissions for name in narrowed}
    taken = {source["Name"] for source in kept}
    ours = [
        _source(name, declared[name], actions[name], rights.get(name, permissions if actions[name] == "allow" else ()))
        for name in sorted(declared)
        if name not in taken
    ]
    return kept + ours


def _source(name: str, declarations: set[str], action: str, permissions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    source: dict[str, Any] = {"Name": name, "Description": _MARK + ",".join(sorted(declarations))}
    if permissions:
        source["Permissions"] = [dict(permission) for permission in permissions]
    else:
        source["Action"] = action
    return source


def _entry(destination: str, sources: list[dict[str, Any]], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    meta = (stored or {}).get("Meta") if stored else {OWNER_KEY: OWNER}
    entry: dict[str, Any] = {"Kind": KIND, "Name": destination, "Sources": sources}
    if meta:
        entry["Meta"] = dict(meta)
    if stored and stored.get("JWT"):
        entry["JWT"] = stored["JWT"]
    return entry


def _sources(body: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    return (body or {}).get("Sources") or ()


def _declarations(source: Mapping[str, Any]) -> set[str]:
    description = source.get("Description") or ""
    return set(description.removeprefix(_MARK).split(",")) if description.startswith(_MARK) else set()


def _is_declared(source: Mapping[str, Any], word: str) -> bool:
    return word in _declarations(source)
