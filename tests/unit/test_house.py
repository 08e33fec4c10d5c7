"""The rules of the house hold: style, types and the one-way street of imports, by the tools that contributors run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["style", "format", "types", "import contracts"],
)
def test_the_house_is_in_order(command):
    tool = TOOLS / command[0]
    if not tool.exists():
        pytest.skip(f"{command[0]} is not installed; install the extra 'lint'")
    result = subprocess.run([str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_holds_two_ideas():
    longest = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "hms_nomad").rglob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not longest


def test_only_records_that_hide_a_field_are_data_classes():
    plain = [
        f"{path.relative_to(ROOT)}: {one.name}"
        for path in sorted((ROOT / "hms_nomad").rglob("*.py"))
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(one, ast.ClassDef) and is_plain_data_class(one)
    ]
    assert not plain, "make them structs: docs/decisions/004-records-that-cost-nothing-at-start.md"


def is_plain_data_class(one: ast.ClassDef) -> bool:
    said = {ast.unparse(node) for node in ast.walk(one) if isinstance(node, ast.keyword)}
    marked = any(re.search(r"\bdataclass\b", ast.unparse(mark)) for mark in one.decorator_list)
    return marked and not said & {"repr=False", "compare=False"}
