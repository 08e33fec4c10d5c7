"""Rules about where and as whom a service runs, and about what operators may start in it (HMS24x)."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path, quoted, spoken
from hms_nomad.spec.model import Spec
from hms_nomad.spec.re2 import regex_fault
from hms_nomad.spec.registry import Hit, check

_WITHOUT_VALUE = frozenset({"is_set", "is_not_set"})


@check(
    "HMS240",
    Level.ERROR,
    "The driver cannot run this",
    reads=("driver", "image", "command"),
    fix="an image needs docker, a command needs exec or raw_exec",
    example="image: ghcr.io/gov/receipt:1.0\ndriver: exec",
)
def driver_of_another_kind(spec: Spec) -> Iterator[Hit]:
    """Containers come from images, processes from commands: each driver of Nomad takes one of the two."""
    if spec.driver is not None and (spec.driver == "docker") != (spec.image is not None):
        what = "an image" if spec.image is not None else "a command"
        yield Hit(("driver",), f"driver {spec.driver} cannot run {what}")


@check(
    "HMS241",
    Level.ERROR,
    "A constraint without its value, or with a needless one",
    reads=("placement.constraints",),
    fix="compare with a value, or use is_set or is_not_set without one",
    example="placement:\n  constraints:\n    - {attribute: meta.rack, operator: is_set, value: r1}",
)
def constraint_value(spec: Spec) -> Iterator[Hit]:
    """``is_set`` and ``is_not_set`` look at the attribute alone; every other operator compares it with a value."""
    for index, constraint in enumerate(spec.placement.constraints):
        path: Path = ("placement", "constraints", index)
        if constraint.operator in _WITHOUT_VALUE and constraint.value is not None:
            yield Hit((*path, "value"), f"operator {constraint.operator} takes no value", "remove value")
        elif constraint.operator == "distinct_property":
            if constraint.value is not None and not constraint.value.isdigit():
                yield Hit((*path, "value"), "distinct_property takes a number", "write the most instances per value")
        elif constraint.operator not in _WITHOUT_VALUE and constraint.value is None:
            yield Hit(path, f"operator {constraint.operator} needs a value", "add value")
        elif constraint.operator == "regexp" and (fault := regex_fault(constraint.value or "")):
            yield Hit((*path, "value"), f"{spoken((*path, 'value'))} {fault}", "use the syntax of RE2")


@check(
    "HMS242",
    Level.ERROR,
    "The shares of a spread exceed the whole",
    reads=("placement.spread",),
    fix="let the shares of one attribute add up to at most 100",
    example="placement:\n  spread:\n    - attribute: node.datacenter\n      targets: {dc1: 70, dc2: 40}",
)
def spread_shares(spec: Spec) -> Iterator[Hit]:
    """Nomad takes whole percents that add up to at most 100; the rest goes to values that are not named."""
    for index, spread in enumerate(spec.placement.spread):
        path: Path = ("placement", "spread", index, "targets")
        total = sum(spread.targets.values())
        if total > 100:
            yield Hit(path, f"the shares add up to {total:g} percent")
        for value, share in spread.targets.items():
            if share != int(share):
                yield Hit((*path, value), f"the share {share:g} is no whole number", "write whole percents")


@check(
    "HMS243",
    Level.ERROR,
    "The same wish for placement twice",
    reads=("placement",),
    fix="remove the second one",
    example="placement:\n  datacenters: [dc1, dc1]",
)
def placement_twice(spec: Spec) -> Iterator[Hit]:
    """Nomad refuses a second spread over the same attribute; a repeated datacenter or constraint is mostly a slip."""
    lists: tuple[tuple[str, tuple[object, ...]], ...] = (
        ("datacenters", spec.placement.datacenters),
        ("constraints", spec.placement.constraints),
        ("spread", tuple(spread.attribute for spread in spec.placement.spread)),
    )
    for name, entries in lists:
        for index, entry in enumerate(entries):
            if entry in entries[:index]:
                yield Hit(("placement", name, index), f"placement.{name} has this entry twice")


@check(
    "HMS244",
    Level.WARNING,
    "Every instance needs a node of its own",
    reads=("placement.distinct_hosts", "scaling.max"),
    fix="make sure that so many nodes are there, or remove distinct_hosts",
    example="placement: {distinct_hosts: true}\nscaling: {min: 2, max: 40}",
)
def many_distinct_hosts(spec: Spec) -> Iterator[Hit]:
    """With ``distinct_hosts`` each instance, new ones of a rollout included, needs a node of its own."""
    needed = spec.scaling.max + spec.scaling.min
    if spec.placement.distinct_hosts and needed > 20:
        yield Hit(
            ("placement", "distinct_hosts"), f"up to {needed} nodes are needed while a rollout runs at scaling.max"
        )


@check(
    "HMS245",
    Level.ERROR,
    "An action that is no command",
    reads=("actions",),
    fix="write [program, argument]",
    example="actions:\n  migrate: {command: ['']}",
)
def empty_action(spec: Spec) -> Iterator[Hit]:
    """An operator who starts the action should get its output, not an error."""
    for name, action in spec.actions.items():
        if not action.command[0].strip() or "\0" in "".join(action.command):
            yield Hit(("actions", name, "command"), f"the action {quoted(name)} names no program")


@check(
    "HMS246",
    Level.ERROR,
    "A group where only a user can stand",
    reads=("user", "command", "image"),
    fix="name the user alone",
    example="command: [python3, app.py]\nuser: app:app",
)
def group_of_a_process(spec: Spec) -> Iterator[Hit]:
    """Processes get the groups that their user has on the node; only containers take a group beside the user."""
    if spec.user is not None and ":" in spec.user and spec.image is None:
        yield Hit(("user",), f"user {quoted(spec.user)} names a group")
