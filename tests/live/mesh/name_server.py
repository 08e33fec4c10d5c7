"""BIND as the name server of instances: what Consul knows as NAME.virtual.consul is found as NAME.mesh too."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import running

PORT = 53
# Other names end at a port on which nobody answers: no test asks outside of its machine.
_SETTINGS = """
options {{
  directory "{directory}";
  pid-file "{directory}/named.pid";
  session-keyfile "{directory}/session.key";
  listen-on {{ {address}; }};
  listen-on-v6 {{ none; }};
  allow-query {{ any; }};
  allow-recursion {{ any; }};
  dnssec-validation no;
  forward only;
  forwarders {{ 127.0.0.1 port 9; }};
}};
controls {{ }};
zone "consul" {{ type forward; forward only; forwarders {{ {consul} port {port}; }}; }};
zone "mesh" {{ type primary; file "{directory}/mesh.zone"; }};
"""
_ZONE = """\
$TTL 30
@ SOA localhost. root.localhost. 1 3600 600 86400 30
@ NS localhost.
@ DNAME virtual.consul.
"""


@contextlib.contextmanager
def name_server(directory: Path, address: str, consul: str, port: int) -> Iterator[None]:
    """A server at ``address`` that asks Consul at ``consul``:``port``; skips where the machine has no BIND."""
    program = shutil.which("named") or shutil.which("named", path="/usr/sbin")
    if program is None:
        pytest.skip("no named on PATH: apt-get install bind9")
    settings = directory / "named.conf"
    settings.write_text(_SETTINGS.format(directory=directory, address=address, consul=consul, port=port))
    (directory / "mesh.zone").write_text(_ZONE)
    with running([program, "-f", "-4", "-c", str(settings)], directory) as server:
        server.wait_until(lambda: _answers(address), "listening")
        yield


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, PORT), timeout=1):
        return True
    return False
