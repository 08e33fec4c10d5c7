"""F19, F21, F22: networks that are slow, cut in pieces or closed, and a clock that jumps while a deploy runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli
from tests.live.faults.proxy import Faulty
from tests.live.faults.world import held, left_behind, spec_of

_JUMPING_CLOCK = """
import time
_real, _calls = time.time, iter(range(10**9))
time.time = lambda: _real() + (3600.0, -3600.0, 0.0)[next(_calls) // 20 % 3]
"""


def test_a_slow_network_makes_a_deploy_slow_and_nothing_else(
    cli: Cli, session: Session, service: str, faulty: Faulty, tmp_path: Path
) -> None:
    faulty.rule(times=100_000, delay=0.3, slice=700)
    file = spec_of(tmp_path, service)
    done = cli("deploy", file, seconds=240, **faulty.environment)
    assert done.exit_code == 0, done.stderr
    assert cli("plan", file).exit_code == 0
    assert left_behind(session, service) == []


@pytest.mark.parametrize("server", ["nomad", "consul"])
def test_a_server_that_no_packet_reaches_is_given_up_before_anything_is_written(
    cli: Cli, session: Session, service: str, faulty: Faulty, tmp_path: Path, server: str
) -> None:
    variable = {"nomad": "NOMAD_ADDR", "consul": "CONSUL_HTTP_ADDR"}[server]
    with closed_port() as port:
        address = f"http://127.0.0.1:{port}"
        failed = cli("deploy", spec_of(tmp_path, service), **faulty.environment | {variable: address})
    assert failed.exit_code == 6, failed.stderr
    assert f"{server} at {address}" in failed.stderr
    assert "no connection within" in failed.stderr
    assert held(session, service) is None
    assert left_behind(session, service) == []


def test_a_clock_that_jumps_by_hours_ends_no_deploy(cli: Cli, session: Session, service: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_JUMPING_CLOCK, encoding="utf-8")
    file = spec_of(tmp_path, service)
    done = cli("deploy", file, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[3]}")
    assert done.exit_code == 0, done.stderr
    assert cli("plan", file).exit_code == 0
    assert left_behind(session, service) == []
    assert cli("audit", "verify").exit_code == 0


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which packets are dropped: its queue of connections is full, and nobody takes any from it."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])
