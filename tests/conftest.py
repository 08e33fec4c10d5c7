"""What holds for all tests: the run ends by saying what was skipped for want of which program, and what it ran on."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests import nomad_choice
from tests.binaries import skip_lines

# Typer reads this once, when the first test that needs it is collected: help in boxes depends on the terminal's width.
os.environ.setdefault("TYPER_USE_RICH", "0")

# A machine that is busy is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--nomad``: what the live tests run on."""
    parser.addoption(
        "--nomad",
        choices=("real", "embedded"),
        help="What the live tests run on; by default the real Nomad where there is one, else the embedded agent.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Decide it once, before anything is collected."""
    nomad_choice.choose(config)
    _hear_signals()


def _hear_signals() -> None:
    """Take SIGINT and SIGHUP as at a terminal, which commands under test inherit.

    A shell lets what it starts with ``&`` ignore the one, and nohup the other, and then nothing that is interrupted
    here would end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Count the skipped tests by the program that they miss, and say what the live tests ran on."""
    yield
    ran = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    if said := nomad_choice.closing_line(report.nodeid for report in ran):
        terminalreporter.write_line(said)
    skipped = terminalreporter.stats.get("skipped", [])
    for line in skip_lines(str(report.longrepr) for report in skipped):
        terminalreporter.write_line(line, yellow=True)
