"""The code under which broken deploy rules are reported (HMS6xx); the rules themselves are the platform's."""

from __future__ import annotations

from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.registry import Rule

DENIED_BY_RULE = Rule(
    "HMS600",
    Level.ERROR,
    "A deploy rule forbids it",
    "The platform's rules (`rules` of its context, or `--rules`) set limits that the file goes beyond. The message "
    "names the rule with its file and line.",
    "do as the message says, or have an exception with an end written into the rule file (see docs/rules.md)",
)
