"""What holds for all tests: the run ends by saying how many tests were skipped for want of which program."""

from __future__ import annotations

import pytest

from tests.binaries import skip_lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by the program that they miss, in plain words below pytest's own list."""
    skipped = terminalreporter.stats.get("skipped", [])
    for line in skip_lines(str(report.longrepr) for report in skipped):
        terminalreporter.write_line(line, yellow=True)
