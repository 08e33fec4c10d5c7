"""A fleet of new services that breaks off in the midst of its entries is finished by the same command."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from hms_nomad.platform.context import DIRECTORY_VARIABLE
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.session import Session, open_session
from tests.contract.consul_server import consul_process
from tests.contract.nomad_server import nomad_unmeasured
from tests.live.conftest import Ran, without_servers
from tests.live.faults.proxy import Faulty, faulty_servers
from tests.live.faults.world import audited, held, left_behind, spec_of

_COUNT = 12
"""More than are worked on at once."""

_EACH = 3
"""A service's entries besides its intentions."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Servers of one's own that start nothing, their clients, proxies in front of them, and a folder of specs."""

    session: Session
    faulty: Faulty
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """A command's environment, in which it asks the proxies."""
        return {**without_servers(), **self.faulty.environment, DIRECTORY_VARIABLE: str(self.folder)}

    def fleet(self, prefix: str) -> list[str]:
        """Specs of new services; answers their names."""
        names = [f"{prefix}-{number:02}" for number in range(_COUNT)]
        (self.folder / prefix).mkdir()
        for name in names:
            spec_of(self.folder / prefix, name)
        return names

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command that runs by itself."""
        words = [sys.executable, "-m", "hms_nomad", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=self.environment)

    def run(self, *arguments: str | Path) -> Ran:
        """A command, and how it ended."""
        with self.start(*arguments) as command:
            try:
                out, err = command.communicate(timeout=120)
            finally:
                command.kill()
        return Ran(command.returncode, out, err)

    def count(self, kind: str, names: list[str]) -> int:
        """How many of the services have an entry of a kind."""
        return len({entry.name for entry in self.session.consul.list_entries(kind)} & set(names))

    def is_whole(self, prefix: str, names: list[str]) -> bool:
        """All are registered as their specs say, and nothing is left of what broke off."""
        planned = self.run("plan", self.folder / prefix)
        assert planned.exit_code == 0, planned.stdout
        assert None not in [held(self.session, name) for name in names]
        assert [left_behind(self.session, name) for name in names] == [[]] * _COUNT
        return self.run("audit", "verify").exit_code == 0


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idle]:
    """Servers for this module, whose tests have services of their own."""
    folder = tmp_path_factory.mktemp("idle")
    for part in ("consul", "nomad", "work"):
        (folder / part).mkdir()
    with ExitStack() as stack:
        consul = stack.enter_context(consul_process(folder / "consul"))
        nomad = stack.enter_context(nomad_unmeasured(folder / "nomad"))
        faulty = stack.enter_context(faulty_servers(nomad.address, consul.address))
        where = Platform(nomad=ServerAddress(address=nomad.address), consul=ServerAddress(address=consul.address))
        yield Idle(stack.enter_context(open_session(where)), faulty, folder / "work")


@pytest.fixture(autouse=True)
def _without_rules(idle: Idle) -> Iterator[None]:
    yield
    idle.faulty.rules.clear()


def test_a_service_that_fails_at_its_entries_stops_no_other(idle: Idle) -> None:
    names = idle.fleet("refused")
    rule = idle.faulty.rule(method="PUT", path="^/v1/config", first=_COUNT, status=400, body=b"invalid entry")
    failed = idle.run("deploy", idle.folder / "refused", "--detach", "--quiet")
    assert rule.hit == 1
    assert failed.exit_code not in (0, 70), failed.stderr
    assert "invalid entry" in failed.stderr
    assert len([name for name in names if held(idle.session, name)]) == _COUNT - 1
    assert idle.run("deploy", idle.folder / "refused", "--detach", "--quiet").exit_code == 0
    assert idle.is_whole("refused", names)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_fleet_that_ends_before_its_first_intentions_is_finished_by_the_same_command(
    idle: Idle, number: signal.Signals
) -> None:
    prefix = number.name.lower()
    names = idle.fleet(prefix)
    rule = idle.faulty.rule(method="PUT", path="^/v1/config", first=_EACH * _COUNT + 1, times=_COUNT, held="before")
    with idle.start("deploy", idle.folder / prefix, "--detach", "--quiet") as command:
        try:
            assert rule.reached.wait(60)
            for kind in ("service-defaults", "service-resolver", "service-router"):
                assert idle.count(kind, names) == _COUNT
            assert idle.count("service-intentions", names) == 0
            assert [name for name in names if held(idle.session, name)] == []
            command.send_signal(number)
            command.communicate(timeout=60)
        finally:
            command.kill()
    assert command.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    # What was held is dropped with its command.
    idle.faulty.rules.clear()
    again = idle.run("deploy", idle.folder / prefix, "--detach", "--quiet")
    assert again.exit_code == 0, again.stderr
    assert idle.is_whole(prefix, names)
    assert audited(idle.session, names[0]) == ["deploy died", "deploy detached"]
