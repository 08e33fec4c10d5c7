"""docs/rollouts.md prints the states and rules that the machine really has; HMS_WRITE_DOCS=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

from hms_nomad.rollout.machine import RULES
from hms_nomad.rollout.states import MEANINGS

PAGE = Path(__file__).parents[3] / "docs" / "rollouts.md"
BEGIN, END = "<!-- states: written by tests/unit/rollout/test_documentation.py -->", "<!-- end of states -->"


def states_and_rules() -> str:
    lines = ["| state | in which |", "|---|---|"]
    lines += [f"| {state} | {meaning} |" for state, meaning in MEANINGS.items()]
    lines += ["", "| state | when | then | leads to |", "|---|---|---|---|"]
    lines += [
        f"| {rule.state} | {rule.when} | {rule.action} | {', '.join(rule.leads_to) or 'the end'} |" for rule in RULES
    ]
    return "\n".join(lines)


def test_the_page_prints_the_table_of_the_machine():
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n{states_and_rules()}\n{END}{after}"
    if os.environ.get("HMS_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted
