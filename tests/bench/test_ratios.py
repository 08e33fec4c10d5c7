"""The program keeps its ratios to what one would take instead; how long anything takes is no matter here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.binaries import binary

ROOT = Path(__file__).parents[2]


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_the_gate_of_ratios_and_counts_is_passed():
    for program in ("nomad", "consul"):
        binary(program)
    paths = os.pathsep.join((str(ROOT), str(ROOT / "scripts")))
    done = subprocess.run(
        [sys.executable, "-m", "benches", "--gate"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"a ratio was missed in both of its runs:\n{done.stdout}\n{done.stderr}"
