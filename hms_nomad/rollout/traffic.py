"""What the mesh is told during a rollout, as changes of config entries; nothing is sent here.

Order is what loses no request. Coming in, each entry is written before another one names it, and the splitter last;
going out, the splitter goes before a subset does. The last entry of each set is the proof that the set is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hms_nomad.compile.canary import CANARY_HEADER, canary_entries, is_canary_name
from hms_nomad.compile.desired import OWNER, OWNER_KEY, Desired
from hms_nomad.compile.entries import RESOLVER, ROUTER, SPLITTER, subset
from hms_nomad.compile.http_routes import ROUTE_KIND, is_headed
from hms_nomad.plan.change import Action, Change
from hms_nomad.plan.diff import change_of, deletion_of, entry_changes, own_routes
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.normal import normal_entry
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.journal import Rollout

_OUTWARDS = (INTENTIONS, ROUTER, ROUTE_KIND, SPLITTER, "service-defaults", RESOLVER)


def preparing(rollout: Rollout, final: Desired, observed: Observed) -> tuple[Change, ...]:
    """What makes the mesh know both releases while all traffic stays with the stable one.

    ``final`` is what the new release stands for. Callers get the rights of both releases; the routes stay the old ones,
    but for requests with the canary header, which follow the new release's routes to it, through the gateway too.
    """
    changes = [
        change_of(INTENTIONS, change.name, both, observed.intentions.get(change.name))
        for change in entry_changes(final, observed)
        if change.kind == INTENTIONS and (both := _rights_of_both(change, observed))
    ]
    service = final.service
    changes.append(
        _entry(
            service,
            RESOLVER,
            _of_both(rollout, _stored(RESOLVER, service, observed) or _final(RESOLVER, final)),
            observed,
        )
    )
    if rollout.policy.splits:
        changes += _through_the_gateway(rollout, final, observed)
        changes.append(_entry(service, ROUTER, _router_with_header(rollout, final, observed), observed))
        weight = weight_of(rollout, _stored(RESOLVER, service, observed), _stored(SPLITTER, service, observed))
        changes.append(_entry(service, SPLITTER, splitter(service, rollout, weight or 0.0), observed))
    return tuple(change for change in changes if change.action is not Action.KEEP)


def weighing(rollout: Rollout, service: str, weight: float, observed: Observed) -> Change:
    """What gives the new release ``weight`` percent (0-100, two decimals) of the traffic.

    Without a splitter there is only all or nothing, by the default of the resolver.
    """
    if rollout.policy.splits:
        return _entry(service, SPLITTER, splitter(service, rollout, weight), observed)
    default = rollout.candidate if weight > 50 else rollout.stable
    return _entry(service, RESOLVER, {**_stored(RESOLVER, service, observed), "DefaultSubset": default}, observed)


def is_split(rollout: Rollout, resolver: Mapping[str, Any], split: Mapping[str, Any]) -> bool:
    """True when a weight can move traffic between both releases."""
    both = {rollout.stable, rollout.candidate}
    if not rollout.policy.splits:
        return set(resolver.get("Subsets") or {}) == both
    return {part.get("ServiceSubset") for part in split.get("Splits") or ()} == both


def defaulting(rollout: Rollout, service: str, observed: Observed) -> Change:
    """What makes the stable release the default again, with both subsets still known."""
    return _entry(service, RESOLVER, _of_both(rollout, _stored(RESOLVER, service, observed)), observed)


def splitting(rollout: Rollout, service: str, observed: Observed) -> tuple[Change, ...]:
    """What makes a mesh that knows only the new release know both again, while all traffic stays with the new one."""
    changes = [switching(rollout, service, observed)]
    if rollout.policy.splits:
        changes.append(_entry(service, SPLITTER, splitter(service, rollout, 100.0), observed))
    return tuple(change for change in changes if change.action is not Action.KEEP)


def switching(rollout: Rollout, service: str, observed: Observed) -> Change:
    """What makes the new release the default, with both subsets still known: the splitter may go after this."""
    return _entry(service, RESOLVER, _of_both(rollout, _stored(RESOLVER, service, observed), new=True), observed)


def finishing(final: Desired, observed: Observed) -> tuple[Change, ...]:
    """What leaves exactly the entries that a release stands for, in the order of going out.

    The release must be the resolver's default already.
    """
    changes = [change for change in entry_changes(final, observed) if change.action is not Action.KEEP]
    return tuple(sorted(changes, key=_outwards))


def weight_of(rollout: Rollout, resolver: Mapping[str, Any], split: Mapping[str, Any]) -> float | None:
    """The share of traffic, in percent, that stored entries give the new release; None when it gets nothing unsplit.

    Where the protocol allows no weights, a resolver that knows both releases says it by its default.
    """
    if not rollout.policy.splits:
        known = rollout.candidate in (resolver.get("Subsets") or {})
        return (100.0 if resolver.get("DefaultSubset") == rollout.candidate else 0.0) if known else None
    weights = {part.get("ServiceSubset"): float(part.get("Weight") or 0) for part in split.get("Splits") or ()}
    if set(weights) == {rollout.stable, rollout.candidate}:
        return weights[rollout.candidate]
    alone = set(weights) == {rollout.candidate} or (not weights and resolver.get("DefaultSubset") == rollout.candidate)
    return 100.0 if alone else None


def knows_both(rollout: Rollout, resolver: Mapping[str, Any], split: Mapping[str, Any]) -> bool:
    """True when ``preparing`` has been written to its end."""
    defaults = (rollout.stable,) if rollout.policy.splits else (rollout.stable, rollout.candidate)
    return (
        weight_of(rollout, resolver, split) is not None
        and set(resolver.get("Subsets") or {}) == {rollout.stable, rollout.candidate}
        and not resolver.get("Failover")
        and resolver.get("DefaultSubset") in defaults
    )


def knows_only(release: str, resolver: Mapping[str, Any], split: Mapping[str, Any]) -> bool:
    """True when ``finishing`` has been written to its end. Behind the gateway a splitter of one part stays."""
    shares = {part.get("ServiceSubset") for part in split.get("Splits") or ()}
    known = set(resolver.get("Subsets") or {})
    return shares <= {release} and resolver.get("DefaultSubset") == release and known == {release}


def splitter(service: str, rollout: Rollout, weight: float) -> dict[str, Any]:
    """The service-splitter that sends ``weight`` percent to the new release, and the rest to the stable one."""
    share = round(weight, 2)
    splits = [
        {"Weight": round(100 - share, 2), "ServiceSubset": rollout.stable},
        {"Weight": share, "ServiceSubset": rollout.candidate},
    ]
    return _ours(SPLITTER, service, {"Splits": splits})


def _of_both(rollout: Rollout, resolver: Mapping[str, Any], *, new: bool = False) -> dict[str, Any]:
    """A resolver with both subsets; the stable one is the default, or the ``new`` one.

    None falls back to the other. Consul makes a subset with a fallback another kind of cluster in Envoy, and one kind
    becomes the other in place: Envoy 1.36 waits 15 seconds for the new one's instances, or ends with a segmentation
    fault while requests go through it.
    """
    return {
        **{key: value for key, value in resolver.items() if key != "Failover"},
        "DefaultSubset": rollout.candidate if new else rollout.stable,
        "Subsets": {release: subset(release) for release in (rollout.stable, rollout.candidate)},
    }


def _router_with_header(rollout: Rollout, final: Desired, observed: Observed) -> dict[str, Any]:
    """The stored routes behind those that take requests with the canary header to the new release."""
    new = _final(ROUTER, final)
    stored = _stored(ROUTER, final.service, observed) or new
    headed = [
        {
            "Match": {"HTTP": _with_header(route["Match"]["HTTP"])},
            "Destination": {**(route.get("Destination") or {}), "ServiceSubset": rollout.candidate},
        }
        for route in new["Routes"]
    ]
    return {**stored, "Routes": [*headed, *(route for route in stored.get("Routes") or () if not _is_headed(route))]}


def _with_header(match: Mapping[str, Any]) -> dict[str, Any]:
    return {**match, "Header": [*(match.get("Header") or ()), {"Name": CANARY_HEADER, "Exact": "1"}]}


def _is_headed(route: Mapping[str, Any]) -> bool:
    return _has_header((route.get("Match") or {}).get("HTTP"))


def _has_header(match: Mapping[str, Any] | None) -> bool:
    return any(header.get("Name") == CANARY_HEADER for header in (match or {}).get("Header") or ())


def _rights_of_both(change: Change, observed: Observed) -> dict[str, Any] | None:
    """An intentions entry in which each caller may do what it may by the stored entry or by the new release's."""
    before = observed.intentions.get(change.name)
    if before is None or change.body is None:
        return dict(change.body) if change.body is not None else None
    old = {source["Name"]: source for source in before.body.get("Sources") or ()}
    new = {source["Name"]: source for source in change.body.get("Sources") or ()}
    sources = [_either(old.get(name), new.get(name)) for name in [*old, *(name for name in new if name not in old)]]
    return {**before.body, "Sources": sources}


def _either(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    """One source with the rights of both releases.

    Where a permission denies something, order decides what it means: the old list then stays until the new release has
    all of the traffic, but for requests with the canary header, for which the new list holds.
    """
    if old is None or new is None:
        return dict(new or old or {})
    if old.get("Action") == "allow":
        return dict(old)
    if old.get("Action") == "deny":
        return dict(new)
    permissions = [*(new.get("Permissions") or ()), *(old.get("Permissions") or ())]
    if any(permission.get("Action") != "allow" for permission in permissions):
        return {**old, "Permissions": _by_header(new.get("Permissions") or (), old.get("Permissions") or ())}
    if new.get("Action") == "allow" or not permissions:
        return dict(new)
    both = [permission for number, permission in enumerate(permissions) if permission not in permissions[:number]]
    return {**{key: value for key, value in new.items() if key != "Action"}, "Permissions": both}


def _by_header(new: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Permissions of requests with the canary header, and behind them those of all others."""
    plain = [dict(permission) for permission in old if not _has_header(permission.get("HTTP"))]
    if normal_entry({"": list(new)}) == normal_entry({"": plain}):
        return plain
    return [*({**permission, "HTTP": _with_header(permission["HTTP"])} for permission in new), *plain]


def _through_the_gateway(rollout: Rollout, final: Desired, observed: Observed) -> list[Change]:
    """What takes requests with the canary header that come through the gateway to the new release.

    The service's second name leads to it, and the gateway's routes for such requests become the new release's, those
    for all others stay. Nothing of them changes where both releases have the same public routes. A route that an
    earlier version wrote stays to the end: its rules are for both, and the new release's go before them.
    """
    wanted = [entry for entry in final.entries if entry.kind == ROUTE_KIND and _is_for_header(entry.body)]
    if not wanted:
        return []
    second = canary_entries(final.service, rollout.candidate)
    names = {entry.name for entry in wanted}
    stored = {key: observed.entries[key] for key in own_routes(final.service, observed) if key[1] not in names}
    return [
        *(
            change_of(one.kind, one.name, one.body, observed.entries.get((one.kind, one.name)))
            for one in (*second, *wanted)
        ),
        *(deletion_of(*key, entry) for key, entry in stored.items() if _is_ours_for_header(entry.body)),
    ]


def _is_for_header(route: Mapping[str, Any]) -> bool:
    """Whether an http-route is for requests with the canary header, and for no others."""
    return all(is_headed(rule) for rule in route.get("Rules") or ())


def _is_ours_for_header(route: Mapping[str, Any]) -> bool:
    return (route.get("Meta") or {}).get(OWNER_KEY) == OWNER and _is_for_header(route)


def _outwards(change: Change) -> tuple[int, int]:
    """Order of going out: what takes a route's place comes before it goes, rules for the canary header first; and the
    second name comes before the routes that ask for it, and goes after them.
    """
    goes = change.action is Action.DELETE
    if change.kind == ROUTE_KIND:
        return _OUTWARDS.index(ROUTE_KIND), 2 if goes else int(not _is_for_header(change.body or {}))
    if not is_canary_name(change.name):
        return _OUTWARDS.index(change.kind), 0
    route, inner = _OUTWARDS.index(ROUTE_KIND), change.kind == RESOLVER
    return (route, 3 + (not inner)) if goes else (route, inner - 2)


def _entry(service: str, kind: str, body: Mapping[str, Any], observed: Observed) -> Change:
    return change_of(kind, service, body, observed.entries.get((kind, service)))


def _stored(kind: str, service: str, observed: Observed) -> dict[str, Any]:
    entry = observed.entries.get((kind, service))
    return dict(entry.body) if entry else {}


def _final(kind: str, final: Desired) -> dict[str, Any]:
    return next((dict(entry.body) for entry in final.entries if entry.kind == kind), _ours(kind, final.service, {}))


def _ours(kind: str, service: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"Kind": kind, "Name": service, "Meta": {OWNER_KEY: OWNER}, **body}
