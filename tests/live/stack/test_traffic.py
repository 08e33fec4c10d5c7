"""Services on the stack reach each other through their sidecars, whatever they run in: processes and containers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.live.stack.server import SERVER


@pytest.fixture
def deployed(cli: Cli, tmp_path: Path) -> Callable[..., None]:
    """Deploys a service with the server in it, as a process or, with ``image``, as a container."""

    def deploy(name: str, image: str | None, **fields: Any) -> None:
        kind = {"image": image} if image else {"command": ["python3", "-c", SERVER]}
        spec = {"name": name, "version": "1.0.0", "port": 3000, **kind, **fields}
        file = tmp_path / f"{name}.hms.yml"
        file.write_text(json.dumps(spec), encoding="utf-8")  # JSON is YAML
        ran = cli("deploy", file)
        assert ran.exit_code == 0, ran.stderr

    return deploy


@pytest.mark.parametrize("kind", ["process", "container"])
def test_a_caller_reaches_a_process_and_a_container_with_its_own_identity(
    kind: str,
    stack: LiveStack,
    session: Session,
    image: str | None,
    deployed: Callable[..., None],
    fresh_name: Callable[[str], str],
) -> None:
    """Docker's own rules drop what is forwarded between bridges; the mesh must get through nevertheless."""
    if kind == "container" and not stack.status.docker:
        pytest.skip("no container engine answers on this machine")
    callees = [fresh_name("process")]
    deployed(callees[0], None, health={"path": "/hello", "interval": "2s"})
    if stack.status.docker:
        callees.append(fresh_name("container"))
        deployed(callees[1], image, health={"path": "/hello", "interval": "2s"})
    caller = fresh_name("caller")
    deployed(caller, image if kind == "container" else None, uses=callees, health={"path": "/call", "interval": "2s"})

    heard = _ask_health(session, caller, "/call")

    assert len(heard) == len(callees)
    assert all(identity.endswith(f"/svc/{caller}") for identity in heard.values()), heard
    # The embedded agent names a port of the machine instead.
    if kind == "container" and not session.nomad.embedded:
        assert set(heard) == {f"http://{callee}.mesh" for callee in callees}


def _ask_health(session: Session, service: str, path: str) -> dict[str, str]:
    allocation = session.nomad.job_allocations(service).value[0]
    port = session.nomad.read_allocation(allocation.id).ports["health"]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://{port.host_ip}:{port.value}{path}", timeout=10) as answer:
        body: dict[str, str] = json.load(answer)
        return body
