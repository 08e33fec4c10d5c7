"""The servers that the contract tests ask: each is started once, on first use, and ended by its process id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.clients.nomad import NomadClient
from hms_nomad.dev.engine import Engine, find_engine
from tests.contract.consul_server import Consul, consul_anyhow, consul_process, consul_without_leader
from tests.contract.embedded_agent import embedded_agent
from tests.contract.jobs import Jobs, jobs_of
from tests.contract.nomad_server import Nomad, nomad_agent, nomad_with_acls, nomad_without_leader
from tests.contract.vault_server import Vault, new_vault, vault_anyhow, vault_process
from tests.images import python_image


@pytest.fixture(scope="session")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A Consul that allows everything."""
    with consul_anyhow(_directory(tmp_path_factory, "consul")) as server:
        yield server


@pytest.fixture(scope="session")
def strict_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A Consul that denies everything but to its management token."""
    with consul_anyhow(_directory(tmp_path_factory, "strict-consul"), acl=True) as server:
        yield server


@pytest.fixture(scope="session")
def local_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A Consul that is a process of this machine: one that can be frozen, and that a local Envoy can ask."""
    with consul_process(_directory(tmp_path_factory, "local-consul")) as server:
        yield server


@pytest.fixture(scope="session")
def leaderless_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A Consul server without a leader."""
    with consul_without_leader(_directory(tmp_path_factory, "leaderless-consul")) as server:
        yield server


@pytest.fixture(scope="session")
def nomad(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    """A Nomad server and client that runs shell commands; a module's ``pytestmark = BOTH`` asks our own agent too."""
    kind = getattr(request, "param", "real")
    make = embedded_agent if kind == "embedded" else nomad_agent
    with make(_directory(tmp_path_factory, f"{kind}-nomad")) as server:
        yield server


@pytest.fixture
def client(nomad: Nomad) -> Iterator[NomadClient]:
    """A client of the Nomad that runs shell commands."""
    client = nomad.client()
    yield client
    client.close()


@pytest.fixture
def jobs(client: NomadClient) -> Iterator[Jobs]:
    """Jobs that are purged after the test."""
    with jobs_of(client) as jobs:
        yield jobs


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The container engine of this machine."""
    found = find_engine()
    if found is None:
        pytest.skip("no container engine answers on this machine")
    return found


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image that runs its first argument as a program in Python."""
    with python_image(
        engine, "contract", "import sys\nexec(sys.argv[1])\n", _directory(tmp_path_factory, "image")
    ) as name:
        yield name


@pytest.fixture(scope="session")
def strict_nomad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    """A Nomad server that denies everything but to its management token."""
    with nomad_with_acls(_directory(tmp_path_factory, "strict-nomad")) as server:
        yield server


@pytest.fixture(scope="session")
def leaderless_nomad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    """A Nomad server without a leader."""
    with nomad_without_leader(_directory(tmp_path_factory, "leaderless-nomad")) as server:
        yield server


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """An unsealed Vault (or OpenBao) with KV 2 at ``secret``."""
    with vault_anyhow(_directory(tmp_path_factory, "vault")) as server:
        yield server


@pytest.fixture
def own_vault(tmp_path: Path) -> Iterator[Vault]:
    """A Vault for one test, which may seal it."""
    with vault_process(tmp_path) as server:
        yield server


@pytest.fixture
def fresh_vault(tmp_path: Path) -> Iterator[Vault]:
    """A Vault for one test that nobody has initialized."""
    with new_vault(tmp_path) as server:
        yield server


def _directory(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp(name)
