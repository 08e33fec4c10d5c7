from __future__ import annotations

import os
import socket

import pytest

from hms_nomad.dev import machine
from hms_nomad.dev.errors import UnsuitableMachineError
from hms_nomad.dev.machine import check_ports, check_rights
from hms_nomad.dev.settings import StackSettings


def test_without_root_the_reason_and_the_way_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)

    with pytest.raises(UnsuitableMachineError, match=r"needs root: .*; run the command as root"):
        check_rights()


def test_another_system_is_told_that_it_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "darwin")

    with pytest.raises(UnsuitableMachineError, match="runs on Linux only; run it inside a Linux virtual machine"):
        check_rights()


def test_a_port_that_is_taken_is_named_with_the_program_that_has_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        offset = port - 8500
        if not 0 <= offset <= 56935:
            pytest.skip("the system handed out a port that no stack can have")
        settings = StackSettings(port_offset=offset)

        with pytest.raises(UnsuitableMachineError) as refused:
            check_ports(settings, ["consul"])
        check_ports(settings, ["nomad", "vault"])

    assert f"port {port}, consul's for http, is taken by " in str(refused.value)
    assert f"(pid {os.getpid()}); stop that program, or move the stack" in str(refused.value)
