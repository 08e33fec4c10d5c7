"""Several specs -> the order in which they can be deployed, and the cycles that leave no such order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import Rule

CYCLE = Rule(
    "HMS411",
    Level.WARNING,
    "Services depend on each other in a circle",
    "None of them can be complete before the others are, so the first deploy starts one that misses its dependencies.",
    "let one of them learn by other means, or expect its calls to fail at first",
)


def deploy_order(specs: Iterable[Spec]) -> tuple[tuple[str, ...], ...]:
    """Names in waves: each service comes after the services that it uses; those of one wave do not wait for each other.

    Services in a circle form one wave together. Names that are not among ``specs`` count as there already.
    """
    uses = _within(specs)
    wave_of: dict[str, int] = {}
    for group in _groups(uses):
        below = [wave_of[name] for member in group for name in uses[member] if name not in group]
        wave = max(below, default=-1) + 1
        wave_of.update(dict.fromkeys(group, wave))
    return tuple(
        tuple(sorted(name for name, wave in wave_of.items() if wave == number))
        for number in sorted(set(wave_of.values()))
    )


def cycles(specs: Iterable[Spec]) -> tuple[tuple[str, ...], ...]:
    """Groups of services that use each other in a circle, each sorted."""
    return tuple(sorted(tuple(sorted(group)) for group in _groups(_within(specs)) if len(group) > 1))


def _within(specs: Iterable[Spec]) -> dict[str, tuple[str, ...]]:
    uses = {spec.name: spec.uses for spec in specs}
    return {name: tuple(sorted(set(names) & uses.keys())) for name, names in sorted(uses.items())}


def _groups(uses: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Strongly connected groups, dependencies first (Tarjan), without recursion: a chain may be thousands long."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_names: list[str] = []
    is_open: set[str] = set()
    for root in uses:
        work = [(root, iter(uses[root]))] if root not in index else []
        while work:
            name, rest = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                open_names.append(name)
                is_open.add(name)
            for other in rest:
                if other not in index:
                    work.append((other, iter(uses[other])))
                    break
                if other in is_open:
                    low[name] = min(low[name], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    found.append([])
                    while name in is_open:
                        found[-1].append(open_names.pop())
                        is_open.remove(found[-1][-1])
    return found
