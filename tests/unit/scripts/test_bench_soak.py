"""How the soak tells memory that settles from memory that grows by each deploy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benches.soaking import grown


def kept(samples: list[float]) -> bool:
    ((_, _, kept),) = grown("this process", samples).verdicts()
    return kept


def test_what_grows_at_first_and_then_no_more_is_flat():
    assert kept([50.0 + min(number, 30) for number in range(200)])


def test_what_grows_by_each_deploy_is_not():
    assert not kept([70.0 + 0.1 * number for number in range(200)])


def test_a_single_high_sample_is_no_growth():
    assert kept([70.0] * 199 + [90.0])


@pytest.mark.parametrize("rounds", [2, 5, 7])
def test_few_rounds_are_judged_too(rounds: int):
    assert kept([70.0] * rounds)


def test_the_course_is_told():
    (note,) = grown("this process", [float(number) for number in range(20)]).notes
    assert note == ("5.5 MiB, then 17.5; in its course 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 19.0")
