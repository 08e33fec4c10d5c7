"""What the bench says of its figures: ratios block by block, goals kept or missed, one table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benches.figures import Figure, Goal, in_turns
from benches.report import as_document, as_markdown, write

PLAN = Figure(
    "B4",
    "plan of 500 services",
    "s",
    {"ours": [1.0, 2.0, 1.0], "peer": [12.0, 22.0, 9.0]},
    "500 x nomad job plan",
    goals=[Goal("peer/ours", at_least=10), Goal("ours", at_most=1.5), Goal("ours/limit", at_most=4)],
)


def test_a_ratio_is_taken_block_by_block():
    (goal, found, kept), *_ = PLAN.verdicts()
    assert (goal.words(), found, kept) == ("peer/ours ≥ 10", (11.0, 9.0, 12.0), True)


def test_a_goal_on_a_column_that_was_not_measured_is_neither_kept_nor_missed():
    assert [goal.of for goal, _, _ in PLAN.verdicts()] == ["peer/ours", "ours"]


@pytest.mark.parametrize(("values", "kept"), [([1.4], True), ([1.6], False)])
def test_a_bound_holds_or_is_missed(values, kept):
    figure = Figure("B2", "read", "s", {"ours": values}, goals=[Goal("ours", at_most=1.5)])
    assert figure.verdicts()[0][2] is kept


def test_work_is_done_in_turns():
    done: list[str] = []
    found = in_turns(2, {"ours": lambda: done.append("ours"), "peer": lambda: done.append("peer")})
    assert done == ["ours", "peer", "ours", "peer"]
    assert [len(values) for values in found.values()] == [2, 2]


def test_the_table_names_peer_and_goal_and_what_did_not_run():
    lines = list(as_markdown(as_document([PLAN], ["Nomad v2.0.5"], ["B21 (no registry)"])))
    rows = [line for line in lines if line.startswith("| B4")]
    assert len(rows) == 1
    assert "12 s (500 x nomad job plan)" in rows[0]
    assert "peer/ours ≥ 10 | 11 (9 to 12) | kept" in rows[0]
    assert "Nomad v2.0.5" in lines[0]
    assert lines[-1] == "Not run: B21 (no registry)."


def test_a_run_is_added_to_the_history(tmp_path):
    document = as_document([PLAN], [], [])
    files = write(document, tmp_path)
    assert json.loads(files[0].read_text(encoding="utf-8")) == document
    assert files[0].name == f"{document['at'][:10]}.json"
    assert (tmp_path / "latest.md").read_text(encoding="utf-8").startswith(document["at"])
