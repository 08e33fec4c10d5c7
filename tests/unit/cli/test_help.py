"""Every command explains itself: what it does, an example, and the options that all of them share."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import typer

from hms_nomad.cli.table import COMMANDS
from tests.unit.cli.running import run


def command_lines() -> list[tuple[str, ...]]:
    """Every command that can be run, as its words."""
    found: list[tuple[str, ...]] = []
    for name, entry in COMMANDS.items():
        loaded = typer.main.get_command(importlib.import_module(entry.module).app)
        found += [(name, sub) for sub in getattr(loaded, "commands", {})] or [(name,)]
    return found


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_a_command_explains_itself(words):
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert f"\n    $ hms-nomad {' '.join(words)}" in result.stdout
    for option in ("--output", "--quiet", "--color", "--trace"):
        assert option in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_shows_each_on_one_line(name):
    line = next(line for line in run("--help").stdout.splitlines() if line.startswith(f"  {name} "))
    assert line.split(maxsplit=1)[1] == COMMANDS[name].about
    assert len(line) <= 80


def test_the_documentation_names_every_command():
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"| [`{name} " not in page and f"| [`{name}`" not in page]


def test_a_group_without_a_command_shows_its_commands():
    result = run("registry")
    assert result.exit_code == 2
    assert "lookup" in result.stderr
    assert result.stdout == ""
