"""The closing lines of a test run that name the missing programs."""

from __future__ import annotations

import pytest

from tests.binaries import binary, skip_lines


def test_skipped_tests_are_counted_by_the_program_that_they_miss() -> None:
    reasons = ["('a.py', 1, 'Skipped: no nomad on PATH')"] * 12
    reasons += ["('b.py', 2, 'Skipped: no vault or bao on PATH')", "('c.py', 3, 'Skipped: needs root')"]

    assert skip_lines(reasons) == [
        "12 tests skipped: no nomad on PATH",
        "1 test skipped: no vault or bao on PATH",
    ]


def test_a_run_without_skipped_tests_says_nothing() -> None:
    assert skip_lines([]) == []


def test_a_program_that_is_missing_skips_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(pytest.skip.Exception, match="no vault or bao on PATH"):
        binary("vault", "bao")


def test_the_first_program_that_is_there_is_taken() -> None:
    assert binary("no-such-program", "sh").endswith("/sh")
