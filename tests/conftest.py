"""What holds for all tests: the run ends by saying how many tests were skipped for want of which program."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.binaries import skip_lines


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Count the skipped tests by the program that they miss, in plain words below pytest's own list."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    for line in skip_lines(str(report.longrepr) for report in skipped):
        terminalreporter.write_line(line, yellow=True)
