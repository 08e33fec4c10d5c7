"""Rules and models -> the pages of the documentation that are made from them."""

from __future__ import annotations

from hms_nomad.spec.checks import rules
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.loader import examine
from hms_nomad.spec.registry import Rule

_FILE = "receipt.hms.yml"
_BASE = {
    "name": "name: receipt-svc",
    "version": "version: 1.0.0",
    "image": "image: ghcr.io/gov/receipt:1.0",
    "port": "port: 3000",
}
_LONGEST_LINE = 110
_GROUPS = (
    ("HMS0", "Reading a file"),
    ("HMS1", "Fields and their values"),
    ("HMS20", "Fields that contradict each other"),
    ("HMS21", ""),
    ("HMS22", "Values that a server or a shell would misread"),
    ("HMS23", ""),
    ("HMS30", "Health and scaling"),
    ("HMS31", "Images, commands and responsibility"),
    ("HMS32", "Routes and the mesh"),
    ("HMS33", "Rollouts"),
    ("HMS34", "Secrets and isolation"),
    ("HMS40", "Checks that need the cluster"),
    ("HMS41", "Several specs together"),
)
_LEVELS = {
    Level.ERROR: "Error: no command goes on.",
    Level.WARNING: "Warning.",
    Level.INFO: "Note.",
}


def example_of(rule: Rule) -> str:
    """A whole file that breaks a rule: its example, completed to a spec where the example is a part of one."""
    if not rule.example or rule.code < "HMS2":
        return rule.example
    own = {line.partition(":")[0] for line in rule.example.splitlines() if line[:1].isalpha()}
    if "command" in own:
        own.add("image")
    return "\n".join([*(line for key, line in _BASE.items() if key not in own), rule.example, ""])


def diagnostics_page() -> str:
    """The text of ``docs/diagnostics.md``: every rule with cause, mend, an example, and what is printed for it."""
    parts = [_INTRODUCTION]
    headings = dict(_GROUPS)
    seen: set[str] = set()
    for rule in rules():
        group = next(prefix for prefix, _ in reversed(_GROUPS) if rule.code.startswith(prefix))
        if group not in seen and headings[group]:
            parts.append(f"## {headings[group]}\n")
        seen.add(group)
        parts.append(_section(rule))
    return "\n".join(parts)


_INTRODUCTION = """\
# Diagnostics

<!-- Made from the rules in hms_nomad/spec by scripts/spec_docs.py; change the rules, then run it again. -->

Every finding has a stable code, a level, a place, a cause and a mend, on one line:

    receipt.hms.yml:4:1: error [HMS101] unknown key "prot"; did you mean port?

Errors stop every command before anything is written (exit code 2). Warnings and notes are shown by
`hms-nomad validate`; `--fail-on warning` or `--fail-on info` makes them count like errors.
"""


def _section(rule: Rule) -> str:
    lines = [f"### {rule.code}", "", f"**{rule.title}.** {_LEVELS[rule.level]} {rule.cause}", ""]
    lines += [f"What to do: {rule.fix}.", ""]
    example = example_of(rule)
    if example:
        printed = [str(one) for one in examine(example, _FILE).diagnostics if one.code == rule.code]
        language = "text" if "\x07" in example or "\t" in example else "yaml"
        shown = rule.example.replace("\t", "→").replace("\x07", "␇").strip("\n").splitlines()
        lines += [f"```{language}", *(_short(line) for line in shown), "```", ""]
        lines += ["```text", *(_short(line) for line in printed[:3]), "```", ""]
    return "\n".join(lines)


def _short(line: str) -> str:
    return line if len(line) <= 4 * _LONGEST_LINE else line[:_LONGEST_LINE] + "..."


def generated() -> dict[str, str]:
    """Every generated file of the documentation by its path in the project."""
    return {"docs/diagnostics.md": diagnostics_page()}
