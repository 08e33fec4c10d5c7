"""Spec -> findings: runs every registered check whose fields are whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from hms_nomad.spec import (
    rules_build,
    rules_contradictions,
    rules_escape,
    rules_files,
    rules_kind,
    rules_outside,
    rules_placement,
    rules_running,
    rules_scaling,
    rules_secrets,
    rules_security,
    rules_traffic,
    rules_values,
)
from hms_nomad.spec.document import Path
from hms_nomad.spec.fleet import CYCLE
from hms_nomad.spec.model import Spec
from hms_nomad.spec.registry import CHECKS, Check, Finding, Rule
from hms_nomad.spec.rules_cluster import CLUSTER_CHECKS
from hms_nomad.spec.rules_deploy import DENIED_BY_RULE
from hms_nomad.spec.rules_files import UNREADABLE_SOURCE
from hms_nomad.spec.rules_kind import concerns
from hms_nomad.spec.rules_reading import RULES as RULES_OF_READING

__all__ = ["MODULES", "check_spec", "checks", "rules"]

MODULES = (
    rules_contradictions,
    rules_values,
    rules_escape,
    rules_placement,
    rules_files,
    rules_kind,
    rules_outside,
    rules_scaling,
    rules_running,
    rules_traffic,
    rules_security,
    rules_secrets,
    rules_build,
)
"""The modules whose import registers the checks."""

_MOST_OF_ONE_RULE = 20


def check_spec(spec: Spec, broken: set[Path]) -> Iterator[Finding]:
    """Findings of all checks, but of those that read a path in ``broken``."""
    for check in _checks_of(spec.kind):
        if broken and any(_touch(read, path) for read in check.reads for path in broken):
            continue
        for number, hit in enumerate(check.run(spec)):
            if number == _MOST_OF_ONE_RULE:
                break
            yield Finding(check.rule, hit.path, hit.message, hit.fix or check.rule.fix, hit.at_key)


@cache
def _checks_of(kind: str) -> tuple[Check, ...]:
    return tuple(one for one in checks() if concerns(one, kind))


def checks() -> tuple[Check, ...]:
    """All checks, in the order of their codes."""
    return tuple(CHECKS[code] for code in sorted(CHECKS))


def rules() -> tuple[Rule, ...]:
    """Every rule of the spec language, in the order of the codes."""
    every = [*RULES_OF_READING, *(one.rule for one in checks()), *(one.rule for one in CLUSTER_CHECKS)]
    every += [CYCLE, DENIED_BY_RULE, UNREADABLE_SOURCE]
    return tuple(sorted(every, key=lambda rule: rule.code))


def _touch(one: Path, other: Path) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]
