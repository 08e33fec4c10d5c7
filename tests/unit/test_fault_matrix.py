"""The matrix of faults names, for each fault, tests that exist, or says that it is not run and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = {
    cells[1].strip(): cells
    for line in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| F\d+ \|", line) and (cells := line.split("|"))
}


def test_each_fault_has_its_row():
    assert list(ROWS) == [f"F{number}" for number in range(1, 42)]


@pytest.mark.parametrize("fault", ROWS)
def test_what_a_row_names_exists(fault):
    _, _, _, happens, proofs, _ = ROWS[fault]
    named = re.findall(r"`([^`]+)`", proofs)
    assert named or "not run" in happens
    for each in named:
        file, _, test = each.partition("::")
        path = ROOT / (file if "/" in file else f"tests/live/faults/{file}")
        assert path.is_file(), each
        assert not test or re.search(rf"^ *def {test}\(", path.read_text(encoding="utf-8"), re.M), each
