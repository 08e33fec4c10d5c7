"""Past the sidecar, in plain text, on the default platform: nobody in another allocation gets to a program's port."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.live.mesh.open_app import inside, write_spec

pytestmark = pytest.mark.real_nomad("networks of instances")

CALLER = "tax-portal"


@dataclass(frozen=True)
class Neighbours:
    """Two services on one node, each open to all of its own addresses; ``inside`` is that of the callee."""

    cli: Cli
    caller: str
    callee: str
    inside: str

    def ask(self, url: str) -> str:
        """What the caller's program gets from ``url``, or from its dependency for ""."""
        ran = self.cli("call", "GET", f"{self.caller}/ask/{url}", "--as", CALLER)
        return ran.stdout.strip()


@pytest.fixture(scope="module")
def neighbours(cli: Cli, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    folder: Path = tmp_path_factory.mktemp("specs")
    callee, caller = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("callee", "caller"))
    for name, fields in ((callee, {}), (caller, {"uses": [callee], "allow": [CALLER]})):
        write_spec(folder, name, **fields)
    ran = cli("deploy", folder)
    assert ran.exit_code == 0, ran.stderr
    yield Neighbours(cli, caller, callee, inside(session, callee))
    for name in (caller, callee):
        cli("stop", name, "--purge", "--yes")


def test_another_allocation_gets_no_answer_from_the_programs_own_port(neighbours: Neighbours) -> None:
    assert neighbours.ask("") == "here"
    assert "timed out" in neighbours.ask(f"{neighbours.inside}:3000")


def test_what_an_allocation_publishes_is_reached_from_another(neighbours: Neighbours, session: Session) -> None:
    # By the address of the node, as sidecars reach each other; without a certificate it ends at the callee's sidecar.
    (sidecar,) = session.consul.instances(neighbours.callee, connect=True).value
    said = neighbours.ask(f"{sidecar.address}:{sidecar.port}")
    assert said
    assert "timed out" not in said
    assert "here" not in said


def test_the_node_itself_is_not_kept_out(neighbours: Neighbours) -> None:
    # docs/mesh.md says so; transparent proxies close this, too.
    assert requests.get(f"http://{neighbours.inside}:3000/health", timeout=5).text == "here"
