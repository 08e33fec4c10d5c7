"""Rules of a service behind the gateway -> http-route entries of one rule each, with one service name; and back.

Consul (1.20) watches what an http-route leads to while it goes on filling the set that it watches, once for each
service name in each rule, and Go ends the process for that. With one rule and one name nothing is left to fill.

Consul puts the rules of all entries of a listener in order: longer paths first, then more headers; what is equal there
stands in the order in which Consul bound the entries, on which nobody can rely. So order is said by headers: a match
that goes before another one of an equally long path asks for one more header, which every request has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hms_nomad.compile.canary import ROUTED_HEADER, canary_name, owner_of
from hms_nomad.compile.desired import OWNER, OWNER_KEY, ConfigEntry
from hms_nomad.compile.names import canonical, short_hash

ROUTE_KIND = "http-route"
GATEWAY_KIND = "api-gateway"

LISTENER = "http"
"""Name of the gateway's listener, which is also the label of its port in the job."""

PROBE_PATH = "/.well-known/hms-nomad/route"
PROBE_HEADER = "x-hms-nomad-route"
"""A request with this header at the probe's path reaches the service's sidecar, which refuses it.

It proves that the gateway has exactly this version of the entry, and can speak to an instance, without any request to
the service itself.
"""

ALLOW_HEADER = "x-hms-allow"
"""Header of an answer that the gateway turns into 405; it names the methods that the path answers."""

_ALWAYS: Mapping[str, str] = {"Match": "present", "Name": ":path"}
"""A header that every request has."""

_ABOVE = 3
"""By how many headers rules for the new release go before all others: those of two releases stand side by side."""

_RULE_KEYS = ("Filters", "ResponseFilters")


def route_entries(
    service: str, rules: Iterable[Mapping[str, Any]], frame: Mapping[str, Any]
) -> tuple[ConfigEntry, ...]:
    """The http-routes of a service, in the order of writing: rules for the canary header, all others, last resorts.

    ``rules`` have "Matches" and filters, each before those that it goes before; rules with the same filters share an
    entry. ``frame`` is what all entries say besides (Consul, http-route: "Parents", "Hostnames"). An entry is named
    after its matches, so other filters change it where it is, and other matches are never without an entry.
    """
    ranked = list(_ranked(rules))
    above = max([_ABOVE, *(rank for *_, rank in ranked)])
    groups: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any], int]]] = {}
    for rule, match, rank in ranked:
        groups.setdefault(canonical(_filters(rule)), []).append((rule, match, rank))
    second = canary_name(service)
    headed, plain, last = [], [], []
    for group in groups.values():
        filters, matches = _filters(group[0][0]), [match for _, match, _ in group]
        asked = [_with(match, [], rank) for _, match, rank in group]
        if is_last_resort(filters):
            last.append(_entry(f"{service}.405-{short_hash(matches, 8)}", service, asked, filters, frame))
            continue
        plain.append(_entry(f"{service}.{short_hash(matches, 8)}", service, asked, filters, frame))
        asked = [_with(match, [ROUTED_HEADER], rank + above) for _, match, rank in group]
        headed.append(_entry(f"{second}.{short_hash(matches, 8)}", second, asked, filters, frame))
    return (*headed, *plain, *last)


def in_one_rule_form(service: str, entries: Iterable[ConfigEntry]) -> tuple[ConfigEntry, ...]:
    """The same entries with an http-route that has the service's own name, of several rules, in the present form.

    Earlier versions wrote such a one, and records of releases have kept it.
    """
    found: list[ConfigEntry] = []
    for entry in entries:
        if entry.kind != ROUTE_KIND or entry.name != service:
            found.append(entry)
            continue
        rules = [
            {**rule, "Matches": matches}
            for rule in _something(entry.body.get("Rules") or ())
            if not is_headed(rule) and (matches := list(_asked(rule)))
        ]
        frame = {key: entry.body[key] for key in ("Parents", "Hostnames") if entry.body.get(key)}
        found += route_entries(service, rules, frame)
    return tuple(found)


def probe_match(version: str, method: str = "GET") -> dict[str, Any]:
    """What the probe of a ``version`` asks for."""
    return {
        "Method": method,
        "Path": {"Match": "exact", "Value": PROBE_PATH},
        "Headers": [{"Match": "exact", "Name": PROBE_HEADER, "Value": version}],
    }


def probe_version(route: Mapping[str, Any]) -> str:
    """The value of the probe's header that a stored or compiled http-route of ours answers to; "" for others."""
    for rule in route.get("Rules") or ():
        for match in rule.get("Matches") or ():
            if (match.get("Path") or {}).get("Value") == PROBE_PATH:
                return next((str(header["Value"]) for header in match.get("Headers") or ()), "")
    return ""


def is_headed(rule: Mapping[str, Any]) -> bool:
    """True for a rule of an http-route for requests that ask for the new release."""
    return any(
        header.get("Name") == ROUTED_HEADER["Name"]
        for match in rule.get("Matches") or ()
        for header in match.get("Headers") or ()
    )


def is_last_resort(rule: Mapping[str, Any]) -> bool:
    """True for a rule of an http-route that answers 405: it opens nothing."""
    changes = (rule.get("ResponseFilters") or {}).get("Headers") or ()
    return any(ALLOW_HEADER in (change.get("Set") or {}) for change in changes)


def routes_by_owner(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names of http-routes by the service that each belongs to by its name."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(owner_of(name), []).append(name)
    return {service: tuple(own) for service, own in found.items()}


def _entry(
    name: str, target: str, matches: list[dict[str, Any]], filters: Mapping[str, Any], frame: Mapping[str, Any]
) -> ConfigEntry:
    rule = {"Matches": matches, "Services": [{"Name": target, "Weight": 1}], **filters}
    probed = {**rule, "Matches": [*matches, probe_match(f"{name}.{short_hash(rule, 8)}")]}
    body = {"Kind": ROUTE_KIND, "Name": name, "Meta": {OWNER_KEY: OWNER}, "Rules": [probed], **frame}
    return ConfigEntry(ROUTE_KIND, name, body)


def _asked(rule: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The matches of a rule for ordinary requests as a spec asks for them, without its probe."""
    for match in rule["Matches"]:
        if match["Path"]["Value"] != PROBE_PATH:
            yield {key: value for key, value in match.items() if key != "Headers"}


def _ranked(rules: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], int]]:
    """Each match with its rule and the number of headers that put it before those which it goes before.

    A match that stood before is never asked, and left out. Last resorts come after everything of their path, that of
    other services included.
    """
    flat: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for rule in rules:
        for match in rule["Matches"]:
            flat.setdefault(canonical(match), (rule, match))
    found = list(flat.values())
    ranks = [0] * len(found)
    for here in reversed(range(len(found))):
        rule, match = found[here]
        if not is_last_resort(rule):
            behind = (ranks[other] for other in range(here + 1, len(found)) if _meet(match, found[other][1]))
            ranks[here] = 1 + max(behind, default=0)
    return ((rule, match, rank) for (rule, match), rank in zip(found, ranks, strict=True))


def _meet(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a request may fit both of two matches of which Consul does not put one first by its path."""
    first, second = one["Path"], other["Path"]
    any_method = not one.get("Method") or not other.get("Method") or one["Method"] == other["Method"]
    any_path = first["Value"] == second["Value"] or "regex" in (first["Match"], second["Match"])
    return any_method and any_path and len(first["Value"]) == len(second["Value"])


def _with(match: Mapping[str, Any], headers: list[Mapping[str, str]], rank: int) -> dict[str, Any]:
    asked = [*(match.get("Headers") or ()), *headers, *([_ALWAYS] * rank)]
    return {**match, **({"Headers": asked} if asked else {})}


def _filters(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rule[key] for key in _RULE_KEYS if rule.get(key)}


def _something(value: Any) -> Any:
    """A stored value without the empty fields that Consul adds."""
    if isinstance(value, Mapping):
        return {key: kept for key, item in value.items() if (kept := _something(item))}
    if isinstance(value, list | tuple):
        return [_something(item) for item in value]
    return value
