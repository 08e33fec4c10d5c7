"""What the closing line of a test run says of the Nomad that the live tests ran on."""

from __future__ import annotations

import pytest

from tests import nomad_choice

_LIVE = ["tests/unit/test_a.py::test_b", "tests/live/test_main_job.py::test_c"]


@pytest.mark.parametrize(
    ("chosen", "there", "line"),
    [
        ("real", True, "the stack of the live tests had a real Nomad"),
        ("embedded", True, "the stack of the live tests had the embedded agent"),
        ("embedded", False, "the stack of the live tests had the embedded agent, for want of a nomad on PATH"),
    ],
)
def test_it_says_which(chosen: str, there: bool, line: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nomad_choice, "_chosen", [chosen])
    monkeypatch.setattr(nomad_choice, "has_nomad", lambda: there)

    assert nomad_choice.closing_line(_LIVE) == line
    assert nomad_choice.closing_line(_LIVE[:1]) == ""
