"""Rules of iptables -> the commands that take away what allocations of one stack left behind, and nothing else.

Nomad and its CNI plugins remove the rules of an allocation when it stops in good order. After a crash they stay, and
the chains that all allocations share stay always.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from hms_nomad.dev.network import Slot
from hms_nomad.dev.system import attempt
from hms_nomad.patterns import lazy_pattern

_TABLES = ("nat", "filter")
_ADDRESS = lazy_pattern(r"\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?")
_ADMIN = "NOMAD-ADMIN"
# Chains that the plugins make once for everybody, each before those that it jumps to; empty ones are made again.
_SHARED = (
    ("filter", "CNI-FORWARD"),
    ("filter", _ADMIN),
    ("nat", "CNI-HOSTPORT-DNAT"),
    ("nat", "CNI-HOSTPORT-SETMARK"),
    ("nat", "CNI-HOSTPORT-MASQ"),
)
# The port mapping's marks belong to no allocation; they go with the last published port.
_FIXED_RULES = frozenset({"CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"})
_PLUGINS = ("CNI-", _ADMIN)
_OWN_CHAIN = lazy_pattern(r"CNI-(?:DN-|SN-)?[0-9a-f]{16,}")


class Chains(Struct, frozen=True):
    """One table: each chain with its rules, as ``iptables -S`` prints them without ``-A CHAIN``."""

    table: str
    rules: dict[str, list[str]] = msgspec.field(default_factory=dict)


def separate(slot: Slot) -> None:
    """Let no allocation of a stack reach another's own address: what is published is reached all the same.

    Nomad's plugins ask this chain first, and leave what stands in it.
    """
    between = ["-i", slot.bridge, "-o", slot.bridge, "-m", "conntrack", "!", "--ctstate", "DNAT", "-j", "DROP"]
    if not _iptables("filter", "-C", _ADMIN, *between):
        _iptables("filter", "-N", _ADMIN)
        _iptables("filter", "-I", _ADMIN, "1", *between)


def clean_firewall(slot: Slot, allocations: Iterable[str], *, alone: bool) -> int:
    """Remove the rules and chains of a stack's allocations; answers how many went.

    ``alone`` says that no other Nomad lives here: then the shared chains go too where nobody uses them, and chains that
    belong to nobody. Beside another one these may be its own, made a moment ago and not used yet.
    """
    ids = frozenset(allocations)
    removed = 0
    for table in _TABLES:
        chains = _read(table)
        for chain, rule in own_rules(chains, slot, ids):
            removed += _iptables(table, "-D", chain, *shlex.split(rule))
        # What an own chain holds goes last: by that it is known again after an interruption.
        for chain in own_chains(chains, slot, ids):
            removed += _remove_chain(table, chain)
        for chain in abandoned_chains(_read(table)) if alone else ():
            removed += _remove_chain(table, chain)
    return removed + (sum(_clean_shared(table) for table in _TABLES) if alone else 0)


def parse(table: str, text: str) -> Chains:
    """What ``iptables -t TABLE -S`` printed."""
    chains = Chains(table)
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        name, _, rule = rest.partition(" ")
        if word in ("-P", "-N"):
            chains.rules.setdefault(name, [])
        elif word == "-A":
            chains.rules.setdefault(name, []).append(rule)
    return chains


def own_chains(chains: Chains, slot: Slot, allocations: frozenset[str]) -> list[str]:
    """The chains that were made for allocations of the stack: their rules, or those that jump to them, say so."""
    own = _Own(slot, allocations)
    named = {_target(rule) for rules in chains.rules.values() for rule in rules if own.is_named_in(rule)}
    return [
        chain
        for chain, rules in chains.rules.items()
        if _OWN_CHAIN.fullmatch(chain) and (chain in named or any(own.is_named_in(rule) for rule in rules))
    ]


def own_rules(chains: Chains, slot: Slot, allocations: frozenset[str]) -> list[tuple[str, str]]:
    """The rules outside of its own chains, with theirs, that name an allocation, the bridge or an address of the stack.

    Only chains of the plugins are looked at, and rules elsewhere that jump to one: what an administrator wrote stays.
    """
    names = set(own_chains(chains, slot, allocations))
    own = _Own(slot, allocations)
    return [
        (chain, rule)
        for chain, rules in chains.rules.items()
        for rule in rules
        if chain not in names
        and (
            _target(rule) in names
            or ((chain.startswith(_PLUGINS) or _target(rule).startswith(_PLUGINS)) and own.is_named_in(rule))
        )
    ]


def abandoned_chains(chains: Chains) -> list[str]:
    """Chains made for one allocation that no rule jumps to any more."""
    targets = {word for rules in chains.rules.values() for rule in rules for word in rule.split()}
    return [chain for chain in chains.rules if _OWN_CHAIN.fullmatch(chain) and chain not in targets]


def unused_shared(chains: Chains) -> list[tuple[str, list[tuple[str, str]]]]:
    """The shared chains of a table that hold nothing of anybody, each with the jumps to it that must go first."""
    unused: list[str] = []
    for table, chain in reversed(_SHARED):
        if table != chains.table or chain not in chains.rules:
            continue
        rules = [rule for rule in chains.rules[chain] if not any(rule.endswith(f"-j {gone}") for gone in unused)]
        if not rules or (chain in _FIXED_RULES and not chains.rules.get("CNI-HOSTPORT-DNAT")):
            unused.append(chain)
    return [
        (
            chain,
            [
                (source, rule)
                for source, rules in chains.rules.items()
                for rule in rules
                if rule.endswith(f"-j {chain}")
            ],
        )
        for chain in reversed(unused)
    ]


def _target(rule: str) -> str:
    _, _, target = rule.rpartition("-j ")
    return target.split()[0] if target else ""


def _clean_shared(table: str) -> int:
    removed = 0
    unused = unused_shared(_read(table))
    for _, jumps in unused:
        for source, rule in jumps:
            _iptables(table, "-D", source, *shlex.split(rule))
    for chain, _ in unused:
        removed += _remove_chain(table, chain)
    return removed


def _remove_chain(table: str, chain: str) -> int:
    return _iptables(table, "-F", chain) and _iptables(table, "-X", chain)


class _Own:
    """What names a stack in a rule: its bridge, an address of its subnet, or one of its allocations."""

    def __init__(self, slot: Slot, allocations: frozenset[str]) -> None:
        self._bridge = slot.bridge
        self._subnet = ipaddress.ip_network(slot.subnet)
        self._allocations = allocations

    def is_named_in(self, rule: str) -> bool:
        if self._bridge in shlex.split(rule) or any(allocation in rule for allocation in self._allocations):
            return True
        return any(self._has(match) for match in _ADDRESS.findall(rule))

    def _has(self, text: str) -> bool:
        try:
            found = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return False
        return found.prefixlen >= self._subnet.prefixlen and found.overlaps(self._subnet)


def _read(table: str) -> Chains:
    return parse(table, attempt(["iptables", "-w", "-t", table, "-S"]) or "")


def _iptables(table: str, *arguments: str) -> int:
    return int(attempt(["iptables", "-w", "-t", table, *arguments]) is not None)
