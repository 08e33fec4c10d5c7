"""Which Nomad the live tests run on: a real one, or the embedded agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pytest

from hms_nomad.dev.binaries import has_nomad

Choice = Literal["real", "embedded"]
_chosen: list[Choice] = []


def choose(config: pytest.Config) -> None:
    """Take what ``--nomad`` says, or the real one where this machine has it."""
    wish: Choice | None = config.getoption("--nomad")
    _chosen[:] = [wish or ("real" if has_nomad() else "embedded")]


def nomad() -> Choice:
    """The choice of this run; of a script, which has none, what the machine has."""
    return _chosen[0] if _chosen else ("real" if has_nomad() else "embedded")


def closing_line(node_ids: Iterable[str]) -> str:
    """What the live tests among those that ran were run on; empty where there were none."""
    if not any(node_id.startswith("tests/live/") for node_id in node_ids):
        return ""
    if nomad() == "real":
        return "the stack of the live tests had a real Nomad"
    why = "" if has_nomad() else ", for want of a nomad on PATH"
    return f"the stack of the live tests had the embedded agent{why}"
