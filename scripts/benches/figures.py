"""Work to be timed -> figures: ours beside a peer and the limit, taken in turns, so that what counts are ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_NO_CONTEXTS = Path(tempfile.gettempdir()) / "hms-nomad-bench" / "no-contexts"
_MEASURE_MEMORY = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
if done.returncode:
    sys.exit(done.stderr.decode())
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""

Work = Callable[[], Any]


@dataclass(frozen=True)
class Goal:
    """A bound on a ratio of two columns, or on one column: ``ours/peer`` at most 1.05, ``peer/ours`` at least 10.

    Both bounds alike are an exact number.
    """

    of: str
    at_most: float | None = None
    at_least: float | None = None

    def words(self) -> str:
        """The goal as the table prints it."""
        if self.at_most is None:
            return f"{self.of} ≥ {self.at_least:g}"
        return f"{self.of} {'=' if self.at_most == self.at_least else '≤'} {self.at_most:g}"

    def holds(self, value: float) -> bool:
        """Whether a measured value keeps the bound."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True)
class Figure:
    """One line of the report: values of each column in ``unit``, a value a block; an absent column was not measured.

    ``what`` says what was done, ``peer`` and ``limit`` what the other columns are.
    """

    bench: str
    what: str
    unit: str
    values: Mapping[str, Sequence[float]]
    peer: str = ""
    limit: str = ""
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default=())

    def median(self, column: str) -> float | None:
        """The median of a column, or None when it was not measured."""
        return statistics.median(self.values[column]) if self.values.get(column) else None

    def measured(self, goal: Goal) -> tuple[float, float, float] | None:
        """Median, least and greatest of what a goal is about; a ratio is taken block by block."""
        above, _, below = goal.of.partition("/")
        if not self.values.get(above) or (below and not self.values.get(below)):
            return None
        found = list(self.values[above])
        if below:
            found = [one / other for one, other in zip(found, self.values[below], strict=True)]
        return statistics.median(found), min(found), max(found)

    def verdicts(self) -> list[tuple[Goal, tuple[float, float, float], bool]]:
        """Each goal that could be measured, with what was found and whether it holds."""
        found = [(goal, self.measured(goal)) for goal in self.goals]
        return [(goal, values, goal.holds(values[0])) for goal, values in found if values is not None]


def in_turns(blocks: int, columns: Mapping[str, Work]) -> dict[str, list[float]]:
    """Seconds of each column's work, taken in turns ``blocks`` times, so that a slow minute falls on all of them."""
    found: dict[str, list[float]] = {name: [] for name in columns}
    for _ in range(blocks):
        for name, work in columns.items():
            started = time.perf_counter()
            work()
            found[name].append(time.perf_counter() - started)
    return found


def milliseconds(found: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The same values in milliseconds."""
    return {name: [value * 1000 for value in values] for name, values in found.items()}


def plain_environment(**more: str) -> dict[str, str]:
    """The environment of a command without any server's settings, but for ``more``."""
    names = ("NOMAD_", "CONSUL_", "VAULT_", "HMS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return kept | {"PYTHONPATH": str(ROOT), "HMS_NOMAD_CONFIG_DIR": str(_NO_CONTEXTS)} | more


def ours(environment: Mapping[str, str], *words: str, codes: Sequence[int] = (0,)) -> str:
    """Run ``hms-nomad WORDS``, answer its stdout; ends the bench with what was said for another exit code."""
    return command([sys.executable, "-m", "hms_nomad", *words], environment, codes=codes)


def command(
    words: Sequence[str], environment: Mapping[str, str], *, codes: Sequence[int] = (0,), stdin: str = ""
) -> str:
    """Run a command and answer its stdout."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, check=False, env=dict(environment), cwd=ROOT
    )
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}\n{done.stdout[-2000:]}")
    return done.stdout


def peak_mib(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """The greatest resident memory of a command, in MiB.

    A small process starts it: what a child inherits of a large parent would be counted as its own.
    """
    return float(command([sys.executable, "-c", _MEASURE_MEMORY, *words], environment)) / 1024
