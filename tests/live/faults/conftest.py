"""A stack to be broken, apart from the one of the other live tests, and proxies in front of it."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_nomad.workflows.session import Session, open_session
from tests.live.conftest import Cli, LiveStack, _take_down_orphans, own_contexts, run_cli, running_stack
from tests.live.faults.proxy import Faulty, faulty_servers
from tests.live.faults.world import started

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="package")
def stack() -> Iterator[LiveStack]:
    """The stack that is broken here."""
    _take_down_orphans()
    with running_stack("faults") as running:
        yield running


@pytest.fixture(scope="package")
def session(stack: LiveStack) -> Iterator[Session]:
    """Its clients, past the proxies."""
    with own_contexts(stack.config_dir), open_session(stack.platform) as clients:
        yield clients


@pytest.fixture(scope="package")
def cli(stack: LiveStack) -> Cli:
    """Runs a command against it."""
    return functools.partial(run_cli, stack)


@pytest.fixture
def start(stack: LiveStack) -> Iterator[Start]:
    """Starts ``hms-nomad ARGUMENTS`` and goes on; what still runs after the test is killed."""
    commands: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        commands.append(started(stack, *arguments, **environment))
        return commands[-1]

    yield run
    for command in commands:
        if command.poll() is None:
            command.kill()
        with contextlib.suppress(ValueError):
            command.communicate()


@pytest.fixture
def faulty(stack: LiveStack) -> Iterator[Faulty]:
    """The same servers behind proxies."""
    with faulty_servers(stack.platform.nomad.address, stack.platform.consul.address) as proxies:
        yield proxies
