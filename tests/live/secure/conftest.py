"""A secure stack for the tests of this folder: access lists, TLS, and the foundation that services need."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from hms_nomad.dev.contexts import admin_context
from hms_nomad.dev.security import Security, security_of
from hms_nomad.platform.context import load_platform
from hms_nomad.workflows.platform.bootstrap import prepare
from hms_nomad.workflows.session import Session, open_session
from tests.live.conftest import Cli, LiveStack, own_contexts, run_cli, running_stack
from tests.live.secure.secret_services import Canaries, Services


@dataclass(frozen=True, slots=True)
class SecureStack:
    """The stack, the name of the context with its management tokens, and where its secrets lie."""

    stack: LiveStack
    admin: str
    security: Security

    @contextlib.contextmanager
    def as_admin(self) -> Iterator[Session]:
        """Clients with the management tokens."""
        with own_contexts(self.stack.config_dir), open_session(load_platform(self.admin)) as session:
            yield session

    def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Ask a server for what this program never asks for."""
        answer = requests.post(url, json=dict(body), headers=dict(headers), verify=self.security.ca_file, timeout=10)
        answer.raise_for_status()

    def get(self, url: str) -> int:
        """The status of a question to Nomad that this program never asks."""
        headers = {"X-Nomad-Token": self.security.stored("nomad-management")}
        return requests.get(url, headers=headers, verify=self.security.ca_file, timeout=10).status_code


@pytest.fixture(scope="session")
def secure() -> Iterator[SecureStack]:
    """A secure stack with its foundation laid."""
    with running_stack("secure", secure=True) as running:
        if running.platform.vault is None:
            pytest.skip("this machine has no Vault")
        admin = admin_context(running.settings.name)
        with own_contexts(running.config_dir):
            prepare(admin, lambda _: None)
        yield SecureStack(running, admin, security_of(running.settings.state_dir))


@pytest.fixture(scope="session")
def secure_cli(secure: SecureStack) -> Cli:
    """Runs ``hms-nomad ARGUMENTS`` as the stack's developer."""
    return functools.partial(run_cli, secure.stack)


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    """Values that no other module knows."""
    return Canaries()


@pytest.fixture
def services(secure_cli: Cli, tmp_path: Path) -> Iterator[Services]:
    """Services with secrets, gone at the end."""
    found = Services(secure_cli, tmp_path)
    yield found
    for name in found.names:
        assert secure_cli("stop", name, "--purge", "--yes").exit_code == 0
