"""Options -> an embedded agent of one's own on free ports of 127.0.0.1, ended with all that it runs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.dev.processes import STACK_VARIABLE, of_stack, stop
from tests.contract.nomad_server import Nomad, _asked, _has_ready_node
from tests.processes import free_port, running

BOTH = pytest.mark.parametrize("nomad", ["real", "embedded"], indirect=True)
"""Mark of tests that hold for the real Nomad and for the embedded agent alike."""


@contextlib.contextmanager
def embedded_agent(directory: Path, **settings: Any) -> Iterator[Nomad]:
    """An agent with no Consul, with containers where an engine answers; ``settings`` overrule its own."""
    port = free_port()
    config = {
        "name": "contract",
        "datacenter": "dc1",
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(directory / "data"),
        "ports": [28000, 28999],
        "docker": True,
        "mark": [[STACK_VARIABLE, str(directory)]],
        **settings,
    }
    file = directory / "agent.json"
    file.write_text(json.dumps(config))
    try:
        with running([sys.executable, "-m", "hms_nomad.dev.agent", str(file)], directory) as server:
            nomad = Nomad(f"http://127.0.0.1:{port}", "", server)
            server.wait_until(lambda: _asked(nomad, "/v1/nodes", _has_ready_node), "ready")
            yield nomad
    finally:
        stop(of_stack(directory, frozenset()), 5)
