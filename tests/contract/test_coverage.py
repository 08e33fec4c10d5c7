"""Every public call of a client is pinned by a contract test that names it and makes it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from types import FunctionType

import pytest

import tests.contract
from hms_nomad.clients.artifacts import ArtifactStore
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.envoy import EnvoyStats
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.oci import RegistryClient
from hms_nomad.clients.vault import VaultClient
from hms_nomad.clients.vault_login import VaultLogin
from hms_nomad.clients.vault_operator import VaultOperator

CLIENTS = (NomadClient, ConsulClient, VaultClient, VaultOperator, VaultLogin, EnvoyStats, RegistryClient, ArtifactStore)
# What sends nothing has no contract with a server.
_LOCAL = frozenset({"close"})


def _public_calls(client: type) -> list[str]:
    return [
        f"{client.__name__}.{name}"
        for name, member in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_") and name not in _LOCAL and not _inherited_from_a_client(client, name, member)
    ]


def _inherited_from_a_client(client: type, name: str, member: FunctionType) -> bool:
    return any(base in CLIENTS and getattr(base, name, None) is member for base in client.__mro__[1:])


def _contract_tests() -> list[FunctionType]:
    modules = (
        importlib.import_module(f"{tests.contract.__name__}.{module.name}")
        for module in pkgutil.iter_modules(tests.contract.__path__)
        if module.name.startswith("test_")
    )
    return [
        member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("test_")
    ]


def _named(test: FunctionType) -> set[str]:
    """The calls that ``@pytest.mark.contract("NomadClient.read_job")`` names."""
    marks = getattr(test, "pytestmark", [])
    return {call for mark in marks if mark.name == "contract" for call in mark.args}


def _made(test: FunctionType) -> set[str]:
    """The methods that the test's code speaks of, called at once or handed on to be called."""
    tree = ast.parse(inspect.getsource(test))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("call", [call for client in CLIENTS for call in _public_calls(client)])
def test_every_public_call_has_a_contract_test(call: str) -> None:
    assert any(call in _named(test) for test in _contract_tests()), f"no contract test names {call}"


@pytest.mark.parametrize("test", _contract_tests(), ids=lambda test: test.__name__)
def test_a_contract_test_makes_the_calls_that_it_names(test: FunctionType) -> None:
    existing = {call for client in CLIENTS for call in _public_calls(client)}
    for call in _named(test):
        assert call in existing, f"{test.__name__} names {call}, which is no public call"
        assert call.rpartition(".")[2] in _made(test), f"{test.__name__} names {call} but does not make it"
