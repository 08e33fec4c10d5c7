"""May this machine run the stack? Refusals before anything is started, each with what would be right."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterable

import psutil

from hms_nomad.dev.binaries import find_tool
from hms_nomad.dev.errors import UnsuitableMachineError
from hms_nomad.dev.settings import Ports, StackSettings

_LOOPBACK = "127.0.0.1"


def check_rights() -> None:
    """Linux and root, which a Nomad client needs for namespaces, mounts and networks. Raises UnsuitableMachineError."""
    if sys.platform != "linux":
        raise UnsuitableMachineError("the stack runs on Linux only", "run it inside a Linux virtual machine")
    if os.geteuid() != 0:
        raise UnsuitableMachineError(
            "the Nomad client of a stack needs root: it makes namespaces, mounts and networks",
            "run the command as root, for example with sudo",
        )


def check_tools() -> None:
    """The tools that networks are made with. Raises UnsuitableMachineError."""
    find_tool("ip", "apt-get install iproute2")
    find_tool("iptables", "apt-get install iptables")


def check_ports(settings: StackSettings, prefixes: Iterable[str]) -> None:
    """The ports of servers that are to be started, such as "consul", are free. Raises UnsuitableMachineError."""
    wanted = tuple(f"{prefix}_" for prefix in prefixes)
    for name in Ports.__struct_fields__:
        port = getattr(settings.ports, name)
        if name.startswith(wanted) and not _free(port):
            server, _, purpose = name.partition("_")
            raise UnsuitableMachineError(
                f"port {port}, {server}'s for {purpose}, is taken{_by_whom(port)}",
                "stop that program, or move the stack with another port offset, such as 1000",
            )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # What ended a moment ago must not count: connections linger for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _by_whom(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listening and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
