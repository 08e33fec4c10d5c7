"""The help of the whole tool comes at once: it loads no library of servers, models or files."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

HEAVY = ("requests", "urllib3", "pydantic", "yaml", "nomad", "consul", "hvac", "tenacity", "rich", "psutil", "docker")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_the_help_imports_nothing_heavy():
    result = run("-X", "importtime", "-m", "hms_nomad", "--help")
    assert result.returncode == 0
    imported = {
        line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time")
    }
    assert "typer" in imported
    assert not {name for name in imported if name.split(".")[0] in HEAVY}


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_off_a_terminal_the_help_is_plain_text(words):
    result = run("-m", "hms_nomad", *words)
    assert result.returncode == 0
    assert re.search(r"^  deploy +Bring services up", result.stdout, flags=re.MULTILINE)
    assert "\x1b" not in result.stdout
    assert "│" not in result.stdout


def test_the_version_is_one_line():
    result = run("-m", "hms_nomad", "--version")
    assert re.fullmatch(r"hms-nomad \d+\.\d+\.\d+\S*\n", result.stdout)
