"""Every script that takes options says which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
WITH_OPTIONS = sorted(
    path.parent if path.name == "__main__.py" else path
    for path in (*SCRIPTS.glob("*.py"), *SCRIPTS.glob("*/__main__.py"))
    if "argparse" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", WITH_OPTIONS, ids=lambda path: path.stem)
def test_a_script_says_its_options(script: Path) -> None:
    words = [str(script)] if script.is_file() else ["-m", script.name]
    environment = {**os.environ, "PYTHONPATH": f"{SCRIPTS}:{SCRIPTS.parent}"}
    ran = subprocess.run(
        [sys.executable, *words, "--help"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "usage: " in ran.stdout
