"""The name of a program -> its path, or a skip that says in words which program is missing."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable

import pytest

_MISSING = re.compile(r"no .+ on PATH")


def binary(*names: str) -> str:
    """The path of the first of ``names`` that is there; skips the test when none is."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip(f"no {' or '.join(names)} on PATH")


def skip_lines(reasons: Iterable[str]) -> list[str]:
    """One line for each missing program with the number of tests that wanted it, the most wanted first."""
    found = Counter(match.group() for reason in reasons if (match := _MISSING.search(reason)))
    return [f"{count} {'test' if count == 1 else 'tests'} skipped: {reason}" for reason, count in found.most_common()]
