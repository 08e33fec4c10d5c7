"""What holds for all tests: the run ends by saying how many tests were skipped for want of which program."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.binaries import skip_lines

# Typer reads this once, when the first test that needs it is collected: help in boxes depends on the terminal's width.
os.environ.setdefault("TYPER_USE_RICH", "0")

# A machine that is busy is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Count the skipped tests by the program that they miss, in plain words below pytest's own list."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    for line in skip_lines(str(report.longrepr) for report in skipped):
        terminalreporter.write_line(line, yellow=True)
