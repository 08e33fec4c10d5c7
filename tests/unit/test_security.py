"""The source keeps what the threat model promises: no unchecked TLS, no shell, no evaluated text; private files."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from hms_nomad.platform.context import save_context
from hms_nomad.platform.model import Platform
from hms_nomad.platform.private import write_private

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "hms_nomad").rglob("*.py"))
CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "pickle.loads",
    "pickle.load",
    "marshal.loads",
    "yaml.load",
}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_source_leaves_a_certificate_unchecked_or_runs_text(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        assert _name(call.func) not in CALLS, f"line {call.lineno}"
        for keyword in call.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            assert not (keyword.arg == "shell" and value), f"line {call.lineno}"
            assert not (keyword.arg == "verify" and value is False), f"line {call.lineno}"


def test_files_are_private_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("HMS_NOMAD_CONFIG_DIR", str(tmp_path / "config"))
    before = os.umask(0)
    try:
        write_private(tmp_path / "keys", "x")
        context = save_context(Platform(name="one"))
    finally:
        os.umask(before)
    assert [file.stat().st_mode & 0o777 for file in (tmp_path / "keys", context)] == [0o600, 0o600]
    assert context.parent.stat().st_mode & 0o077 == 0


def test_the_checklist_names_tests_that_exist():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| S(\d+) ", page, re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 31))
    named = set(re.findall(r"`((?:tests|scripts)/[^`]+)`", page))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_a_rule_that_is_done_says_where():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith("| S") and cells[2].startswith("done"):
            assert "`tests/" in cells[3], line
