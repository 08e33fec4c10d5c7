"""The tutorial, line by line: from an empty directory to a call through the mesh in three commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.live.build.conftest import Builder

_TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorial.md"


def test_three_commands_lead_from_an_empty_directory_to_a_call(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _TUTORIAL.read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    commands = re.findall(r"^\$ hms-nomad (.*)$", text, flags=re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text(program, encoding="utf-8")
    for command in commands:
        ran = builder.cli(*shlex.split(command))
        assert ran.exit_code == 0, ran.stderr
    assert json.loads(ran.stdout)["ok"] is True
    builder.cli("stop", "receipt-svc", "--purge", "--yes")
