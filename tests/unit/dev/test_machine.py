from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator

import msgspec
import pytest

from hms_nomad.dev import machine
from hms_nomad.dev.errors import UnsuitableMachineError
from hms_nomad.dev.machine import check_ports, check_rights
from hms_nomad.dev.settings import Ports, StackSettings


def test_without_root_the_reason_and_the_way_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)

    with pytest.raises(UnsuitableMachineError, match=r"needs root: .*; run the command as root"):
        check_rights()


def test_another_system_is_told_that_it_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "darwin")

    with pytest.raises(UnsuitableMachineError, match="runs on Linux only; run it inside a Linux virtual machine"):
        check_rights()


def nobody_has(ports: Iterable[int]) -> bool:
    """Whether all of these ports could be bound right now."""
    with contextlib.ExitStack() as bound:
        for port in ports:
            try:
                bound.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process has, and beside which the other servers of a stack would have room."""
    for _ in range(50):
        with socket.socket() as mine:
            mine.bind(("127.0.0.1", 0))
            mine.listen()
            port: int = mine.getsockname()[1]
            offset = port - Ports.shifted(0).consul_http
            if 0 <= offset <= 56935:
                shifted = msgspec.to_builtins(Ports.shifted(offset))
                if nobody_has(other for name, other in shifted.items() if not name.startswith("consul_")):
                    yield port
                    return
    pytest.skip("the system handed out no port that a stack could have")


def test_a_port_that_is_taken_is_named_with_the_program_that_has_it(taken: int) -> None:
    settings = StackSettings(port_offset=taken - Ports.shifted(0).consul_http)

    with pytest.raises(UnsuitableMachineError) as refused:
        check_ports(settings, ["consul"])
    check_ports(settings, ["nomad", "vault"])

    assert f"port {taken}, consul's for http, is taken by " in str(refused.value)
    assert f"(pid {os.getpid()}); stop that program, or move the stack" in str(refused.value)
