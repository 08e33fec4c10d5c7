"""Spec -> findings: runs every registered check whose fields are whole."""

from __future__ import annotations

from collections.abc import Iterator

from hms_nomad.spec import rules_contradictions, rules_values
from hms_nomad.spec.document import Path
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import CHECKS, Check, Finding

__all__ = ["check_spec", "checks"]

_MODULES = (rules_contradictions, rules_values)
_MOST_OF_ONE_RULE = 20


def check_spec(spec: Spec, broken: set[Path]) -> Iterator[Finding]:
    """Findings of all checks, but of those that read a path in ``broken``."""
    for check in checks():
        if any(_touch(read, path) for read in check.reads for path in broken):
            continue
        for number, hit in enumerate(check.run(spec)):
            if number == _MOST_OF_ONE_RULE:
                break
            yield Finding(check.rule, hit.path, hit.message, hit.fix or check.rule.fix, hit.at_key)


def checks() -> tuple[Check, ...]:
    """All checks, in the order of their codes."""
    return tuple(CHECKS[code] for code in sorted(CHECKS))


def _touch(one: Path, other: Path) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]
