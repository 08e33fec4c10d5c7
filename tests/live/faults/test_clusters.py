"""F15, F16: clusters of three servers that lose their leader, or most of their members, while a deploy runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hms_nomad.platform.context import DIRECTORY_VARIABLE
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.session import Session, open_session
from tests.live.conftest import Ran, without_servers
from tests.live.faults.clusters import Cluster, Member, three_of_consul, three_of_nomad
from tests.live.faults.proxy import Rule, faulty_servers
from tests.live.faults.world import held, left_behind, spec_of


@dataclass(frozen=True, slots=True)
class Three:
    """Three servers of each kind, and a folder for specs and contexts."""

    nomad: Cluster
    consul: Cluster
    folder: Path

    def of(self, kind: str) -> Cluster:
        """The cluster of one kind."""
        return self.nomad if kind == "nomad" else self.consul

    def environment(self, nomad: str, consul: str) -> dict[str, str]:
        """The environment of a command that talks to these two addresses."""
        return {
            **without_servers(),
            "NOMAD_ADDR": nomad,
            "CONSUL_HTTP_ADDR": consul,
            DIRECTORY_VARIABLE: str(self.folder),
        }

    def run(self, nomad: Member, consul: Member, *arguments: str | Path) -> Ran:
        """Run a command that talks to these two members."""
        done = subprocess.run(
            [sys.executable, "-m", "hms_nomad", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            env=self.environment(nomad.address, consul.address),
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def in_the_midst(self, rule: Rule, file: Path, nomad: Member, consul: Member, what: Callable[[], None]) -> Ran:
        """Deploy by way of these two members, and do ``what`` while the request that ``rule`` holds is on its way."""
        with faulty_servers(nomad.address, consul.address) as faulty:
            faulty.rules.append(rule)
            command = subprocess.Popen(
                [sys.executable, "-m", "hms_nomad", "deploy", str(file), "--detach"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self.environment(faulty.nomad.address, faulty.consul.address),
            )
            try:
                assert rule.reached.wait(60)
                what()
                rule.let_go.set()
                out, err = command.communicate(timeout=150)
            finally:
                command.kill()
        return Ran(command.returncode, out, err)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """The clusters; each test leaves all members running."""
    folder = tmp_path_factory.mktemp("clusters")
    with three_of_consul(folder) as consul, three_of_nomad(folder) as nomad:
        yield Three(nomad, consul, folder)


@pytest.fixture
def clients(three: Three) -> Iterator[Session]:
    """Clients of members that no test kills while they are used."""
    platform = Platform(
        nomad=ServerAddress(address=three.nomad.members[0].address),
        consul=ServerAddress(address=three.consul.members[0].address),
    )
    with open_session(platform) as session:
        yield session


@pytest.mark.parametrize("kind", ["nomad", "consul"])
def test_a_leader_that_dies_in_the_midst_is_waited_out(
    three: Three, clients: Session, tmp_path: Path, kind: str
) -> None:
    cluster, name = three.of(kind), f"led-by-{kind}"
    file = spec_of(tmp_path, name)
    rule = Rule(method="PUT|POST", path="^/v1/jobs" if kind == "nomad" else "^/v1/config", held="before")
    leader = cluster.leader()
    done = three.in_the_midst(rule, file, three.nomad.follower(), three.consul.follower(), lambda: cluster.kill(leader))
    cluster.start(leader)
    assert done.exit_code == 0, done.stderr
    assert held(clients, name) is not None
    assert three.run(*_followers(three), "plan", file).exit_code == 0
    assert left_behind(clients, name) == []


@pytest.mark.parametrize("kind", ["nomad", "consul"])
def test_without_a_quorum_nothing_is_written(three: Three, clients: Session, tmp_path: Path, kind: str) -> None:
    cluster, name = three.of(kind), f"no-quorum-{kind}"
    file = spec_of(tmp_path, name)
    nomad, consul = _followers(three)
    lost = [member for member in cluster.members if member not in (nomad, consul)]
    cluster.kill(*lost)
    failed = three.run(nomad, consul, "deploy", file, "--detach")
    cluster.start(*lost)
    assert failed.exit_code == 6, failed.stderr
    # Which of them depends on how soon the member that is left notices: at first it still dials the one that led.
    told = ("o cluster leader", "no answer in time", "cannot pass the request on")
    assert any(words in failed.stderr for words in told), failed.stderr
    assert len([line for line in failed.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert held(clients, name) is None
    assert left_behind(clients, name) == []
    assert {entry.name for entry in clients.consul.list_entries("service-defaults")}.isdisjoint({name})


def test_a_quorum_lost_in_the_midst_ends_the_command_and_the_same_one_mends(
    three: Three, clients: Session, tmp_path: Path
) -> None:
    name = "half-way"
    file = spec_of(tmp_path, name)
    nomad, consul = _followers(three)
    lost = [member for member in three.nomad.members if member is not nomad]
    rule = Rule(method="PUT|POST", path="^/v1/jobs", held="before")
    failed = three.in_the_midst(rule, file, nomad, consul, lambda: three.nomad.kill(*lost))
    three.nomad.start(*lost)
    assert failed.exit_code == 7, failed.stderr
    assert f"done until then: service-defaults {name} created" in failed.stderr.splitlines()[-1]
    assert held(clients, name) is None
    assert three.run(*_followers(three), "deploy", file, "--detach").exit_code == 0
    assert left_behind(clients, name) == []


def _followers(three: Three) -> tuple[Member, Member]:
    return three.nomad.follower(), three.consul.follower()
