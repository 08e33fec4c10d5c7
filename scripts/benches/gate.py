"""Figures -> what CI may fail for: ratios of what ran side by side, and counts; never a time, a rate or a size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from .figures import Figure, Goal

_OF_ANY_MACHINE = frozenset({"", "x"})
"""Units of figures whose values do not depend on the machine: counts, and ratios that the bench took itself."""


def gated(figures: Iterable[Figure]) -> list[Figure]:
    """The figures with their gated goals alone; one without any is left out."""
    found = [
        replace(figure, goals=[goal for goal in figure.goals if _holds_anywhere(figure, goal)]) for figure in figures
    ]
    return [figure for figure in found if figure.goals]


def passed(measure: Callable[[int], Sequence[Figure]], blocks: int) -> list[Figure]:
    """The gated figures of a bench that is called with a number of blocks: of one, or where a goal was missed so, of
    a second run with so many ``blocks``, since a busy machine may disturb one run.

    Raises SystemExit where there is no goal to be judged, or one that was not measured: that would pass unseen.
    """
    figures = gated(measure(1))
    if not _all_kept(figures):
        figures = gated(measure(blocks))
    if not figures or any(len(figure.verdicts()) < len(figure.goals) for figure in figures):
        raise SystemExit("a bench of the gate has no goal on a ratio or a count, or did not measure what it is about")
    return figures


def _holds_anywhere(figure: Figure, goal: Goal) -> bool:
    return "/" in goal.of or figure.unit in _OF_ANY_MACHINE


def _all_kept(figures: Sequence[Figure]) -> bool:
    return all(kept for figure in figures for _, _, kept in figure.verdicts())
