"""What CI may fail for: ratios and counts, never a time or a size, and only after a second run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benches.__main__ import GATE, SOURCES
from benches.figures import Figure, Goal
from benches.gate import gated, passed


def figure(unit: str, *goals: Goal, ours: float = 1.0, peer: float = 2.0) -> Figure:
    return Figure("B0", "work", unit, {"ours": [ours], "peer": [peer]}, goals=goals)


@pytest.mark.parametrize("unit", ["s", "ms", "MiB", "KiB"])
def test_a_ratio_of_two_columns_is_gated_and_a_column_with_a_unit_is_not(unit: str):
    (found,) = gated([figure(unit, Goal("ours", at_most=0.5), Goal("ours/peer", at_most=1))])
    assert [goal.of for goal in found.goals] == ["ours/peer"]


@pytest.mark.parametrize("unit", ["", "x"])
def test_a_count_and_a_ratio_that_the_bench_took_are_gated(unit: str):
    assert gated([figure(unit, Goal("ours", at_most=5))])


def test_a_figure_without_a_gated_goal_is_left_out():
    assert gated([figure("ms", Goal("ours", at_most=100)), figure("s")]) == []


def test_what_is_kept_at_once_is_not_run_again():
    asked: list[int] = []

    def measure(blocks: int) -> list[Figure]:
        asked.append(blocks)
        return [figure("s", Goal("ours/peer", at_most=1))]

    (found,) = passed(measure, 3)
    assert asked == [1]
    assert found.verdicts()[0][2]


@pytest.mark.parametrize("second", [0.5, 3.0])
def test_what_is_missed_is_run_once_more_with_more_blocks_and_judged_by_that(second: float):
    asked: list[int] = []

    def measure(blocks: int) -> list[Figure]:
        asked.append(blocks)
        return [figure("s", Goal("ours/peer", at_most=1), ours=4.0 if blocks == 1 else second)]

    (found,) = passed(measure, 3)
    assert asked == [1, 3]
    assert found.verdicts()[0][2] is (second < 2)


@pytest.mark.parametrize(
    "found",
    [[], [figure("ms", Goal("ours", at_most=100))], [figure("s", Goal("peer/limit", at_least=2))]],
    ids=["nothing", "only a time", "a column that was not measured"],
)
def test_what_was_not_judged_does_not_pass(found: list[Figure]):
    with pytest.raises(SystemExit, match="a bench of the gate"):
        passed(lambda _: found, 3)


def test_an_exact_number_is_missed_by_more_and_by_less():
    goal = Goal("ours", at_most=5, at_least=5)
    assert goal.words() == "ours = 5"
    assert [goal.holds(value) for value in (4, 5, 6)] == [False, True, False]


def test_the_gate_takes_benches_that_there_are():
    known = {bench for source in SOURCES for bench in source.benches}
    assert {bench for source in GATE for bench in source.benches} == {"B1", "B2", "B4", "B6"} <= known
