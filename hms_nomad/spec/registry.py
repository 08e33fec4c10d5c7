"""The rules of the spec language by code, and the functions that look for what breaks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.document import Path
from hms_nomad.spec.model import Spec


class Rule(Struct, frozen=True):
    """What a code stands for: its level, a title, why it matters, what to do, and lines of a spec that break it."""

    code: str
    level: Level
    title: str
    cause: str
    fix: str
    example: str = ""


class Finding(Struct, frozen=True):
    """A broken rule at a path of the spec; ``at_key`` points to the key instead of the value."""

    rule: Rule
    path: Path
    message: str
    fix: str
    at_key: bool = False


class Hit(Struct, frozen=True):
    """What a check yields: the place, the cause in this file, and the mend (the rule's own when empty)."""

    path: Path
    message: str
    fix: str = ""
    at_key: bool = False


CheckFunction = Callable[[Spec], Iterator[Hit]]


class Check(Struct, frozen=True):
    """A rule with its function. ``reads`` names the fields it looks at: when one of them is broken, it does not run."""

    rule: Rule
    reads: tuple[Path, ...]
    run: CheckFunction


CHECKS: dict[str, Check] = {}
"""All registered checks by code; filled by importing the ``rules_*`` modules."""


def check(
    code: str, level: Level, title: str, *, reads: tuple[str, ...], fix: str, example: str
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a check; the function's docstring says why the rule matters. ``reads`` are dotted paths.

    ``example`` holds the lines that break the rule, added to an otherwise good spec; the documentation shows them.
    """

    def register(function: CheckFunction) -> CheckFunction:
        if code in CHECKS:
            raise ValueError(f"{code} is registered twice")
        rule = Rule(code, level, title, " ".join((function.__doc__ or "").split()).replace("``", "`"), fix, example)
        CHECKS[code] = Check(rule, tuple(tuple(path.split(".")) for path in reads), function)
        return function

    return register
