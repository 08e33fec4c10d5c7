"""A whole stack of its own for the live tests, brought up once and always taken down, and the ways to use it.

``stack`` is the stack, ``session`` its clients, ``cli`` runs the program against it, ``service`` is a name that no
other test uses. Without root or a program that the stack needs, the tests are skipped and say why.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from _pytest.runner import runtestprotocol

from hms_nomad.clients.errors import ServerError
from hms_nomad.dev import stack as dev
from hms_nomad.dev.errors import MissingBinaryError, UnsuitableMachineError
from hms_nomad.dev.processes import alive
from hms_nomad.dev.settings import Ports
from hms_nomad.dev.state import load
from hms_nomad.platform.context import CONTEXT_VARIABLE, DIRECTORY_VARIABLE, load_platform
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.session import Session, open_session
from tests import nomad_choice

_HERE = Path(__file__).parent
_ROOT = Path(tempfile.gettempdir()) / "hms-nomad-live"
_OFFSETS = range(20000, 50000, 500)
_SERVERS = ("NOMAD_", "CONSUL_", "VAULT_", "HMS_NOMAD_")
# Consul 1.20.1 now and then, where routes of several rules are written: its gateways' controller watches a set that it
# goes on filling.
_CRASH = "fatal error: concurrent map"


@dataclass(frozen=True, slots=True)
class LiveStack:
    """A running stack: its settings, what ``up`` answered, and the platform that it wrote as a context."""

    settings: dev.StackSettings
    status: dev.StackStatus
    platform: Platform
    config_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command that talks to this stack and to nothing else."""
        return {**without_servers(), DIRECTORY_VARIABLE: str(self.config_dir), CONTEXT_VARIABLE: self.settings.name}


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str


Cli = Callable[..., Ran]

_SHARED: list[LiveStack] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is a live test; what needs the real Nomad is skipped on the embedded agent, with the reason."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.live)
            needed = item.get_closest_marker("real_nomad")
            if needed is not None and nomad_choice.nomad() == "embedded":
                item.add_marker(pytest.mark.skip(reason=f"only a real Nomad has {needed.args[0]}"))


@contextlib.contextmanager
def running_stack(name: str, **options: Any) -> Iterator[LiveStack]:
    """A stack of its own with free ports, taken down at the end; skips where the machine cannot run one.

    Its Nomad is that of this run (``--nomad``) unless ``options`` say another.
    """
    options = {"nomad": nomad_choice.nomad(), **options}
    folder = _ROOT / f"{name}-{os.getpid()}"
    settings = dev.StackSettings(
        name=name, state_dir=folder / "state", port_offset=free_offset(), download=False, **options
    )
    config_dir = folder / "config"
    own_docker(config_dir).parent.mkdir(parents=True)
    own_docker(config_dir).write_text("{}", encoding="utf-8")
    with own_contexts(config_dir):
        try:
            status = dev.up(settings, lambda event: None)
            platform = load_platform(name)
        except MissingBinaryError as missing:
            pytest.skip(f"no {missing.binary} on PATH: {missing.fix}")
        except UnsuitableMachineError as unsuitable:
            pytest.skip(f"this machine runs no stack: {unsuitable}")
        except BaseException:
            _take_down(settings)
            raise
    try:
        yield LiveStack(settings, status, platform, config_dir)
    finally:
        with own_contexts(config_dir):
            left = _take_down(settings)
        shutil.rmtree(folder, ignore_errors=True)
    assert left.leftovers == ()


def without_servers() -> dict[str, str]:
    """The environment of this process without any server's address or token and without our own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SERVERS)}


def own_docker(directory: Path) -> Path:
    """The configuration of Docker that belongs to the contexts below ``directory``; a stack's Nomad pulls by it."""
    return directory / "docker" / "config.json"


@contextlib.contextmanager
def own_contexts(directory: Path) -> Iterator[None]:
    """Contexts below ``directory``, and no server's settings or registry's password from the caller's shell."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in os.environ.keys() - without_servers().keys():
            patch.delenv(variable)
        patch.setenv(DIRECTORY_VARIABLE, str(directory))
        patch.setenv("DOCKER_CONFIG", str(own_docker(directory).parent))
        yield


def run_cli(
    stack: LiveStack, *arguments: str | Path, stdin: str = "", seconds: float = 120.0, **environment: str
) -> Ran:
    """Run the program against a stack; ``environment`` adds variables."""
    done = subprocess.run(
        [sys.executable, "-m", "hms_nomad", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=stack.environment | environment,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def free_offset() -> int:
    """A port offset at which no port of a stack is taken."""
    for offset in _OFFSETS:
        ports = Ports.shifted(offset)
        if all(_free(getattr(ports, field)) for field in Ports.__struct_fields__):
            return offset
    pytest.skip("there is no free range of ports for a stack")


@pytest.fixture(scope="session")
def stack() -> Iterator[LiveStack]:
    """The stack of this run, with Vault and Docker where the machine has them."""
    _take_down_orphans()
    with running_stack("live") as running:
        _SHARED.append(running)
        yield running
        _SHARED.clear()


@pytest.fixture(scope="session")
def session(stack: LiveStack) -> Iterator[Session]:
    """The clients of the stack."""
    with own_contexts(stack.config_dir), open_session(stack.platform) as clients:
        yield clients


@pytest.fixture(scope="session")
def cli(stack: LiveStack) -> Cli:
    """Runs ``hms-nomad ARGUMENTS`` against the stack: ``cli("deploy", file, stdin="y\\n", seconds=60)``."""
    return functools.partial(run_cli, stack)


@pytest.fixture
def fresh_name(session: Session) -> Iterator[Callable[[str], str]]:
    """Makes names that no other test uses; the jobs of these names are stopped after the test."""
    names: list[str] = []

    def make(stem: str = "svc") -> str:
        names.append(f"{stem}-{uuid.uuid4().hex[:8]}")
        return names[-1]

    yield make
    for name in names:
        with contextlib.suppress(ServerError):
            session.nomad.stop_job(name, purge=True)


@pytest.fixture
def service(fresh_name: Callable[[str], str]) -> str:
    """One fresh name of a service."""
    return fresh_name("svc")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """A server of the shared stack that dies fails the test, in its own last words, and is there again for the next.

    One that crashed by a fault of its own is no word about us: the test is run once more.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    said = _bring_back()
    if _CRASH in said:
        for definition in itertools.chain.from_iterable(item._fixtureinfo.name2fixturedefs.values()):
            if definition.cached_result is not None and definition.cached_result[2] is not None:
                definition.cached_result = None
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        said = _bring_back()
    if said:
        reports[-1].outcome, reports[-1].longrepr = "failed", said
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _bring_back() -> str:
    """Start the servers of the shared stack that died; answers what they said last."""
    record = load(_SHARED[0].settings.state_dir) if _SHARED else None
    dead = [server for server in record.servers.values() if not alive(server.process)] if record else []
    said = "\n\n".join(f"{server.name} died; {_last_words(Path(server.log_file))}" for server in dead)
    if dead:
        with own_contexts(_SHARED[0].config_dir):
            dev.up(_SHARED[0].settings, lambda event: None)
    return said


def _last_words(log_file: Path) -> str:
    """The end of a log, from where a crash begins if it ended by one."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    crashes = [number for number, line in enumerate(lines) if line.startswith(("panic:", "fatal error:"))]
    said = lines[max(0, crashes[-1] - 10) :][:60] if crashes else lines[-40:]
    return "it said last:\n  " + "\n  ".join(said)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _take_down(settings: dev.StackSettings) -> dev.DownResult:
    return dev.down(settings, lambda event: None)


def _take_down_orphans() -> None:
    """Stacks of test runs that were killed."""
    for folder in _ROOT.glob("*-*"):
        name, _, pid = folder.name.rpartition("-")
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            with own_contexts(folder / "config"):
                _take_down(dev.StackSettings(name=name, state_dir=folder / "state"))
            shutil.rmtree(folder, ignore_errors=True)
