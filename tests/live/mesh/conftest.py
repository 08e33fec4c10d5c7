"""Real servers that deny everything, and tokens that carry one of the shipped policies each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.consul_server import Consul, consul_process
from tests.contract.nomad_server import Nomad, nomad_with_acls
from tests.contract.vault_server import Vault, vault_process


@pytest.fixture(scope="module")
def strict_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A Consul that denies everything but to its management token."""
    with consul_process(tmp_path_factory.mktemp("consul"), acl=True) as server:
        yield server


@pytest.fixture(scope="module")
def strict_nomad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    """A Nomad server that denies everything but to its management token."""
    with nomad_with_acls(tmp_path_factory.mktemp("nomad")) as server:
        yield server


@pytest.fixture(scope="module")
def own_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """An unsealed Vault (or OpenBao) with KV 2 at ``secret``."""
    with vault_process(tmp_path_factory.mktemp("vault")) as server:
        yield server
