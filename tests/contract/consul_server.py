"""Options -> a Consul server of one's own on free ports of 127.0.0.1, from the program or from a local image."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from tests.binaries import binary
from tests.certificates import Pair
from tests.contract.containers import container, local_image
from tests.processes import Server, free_port, running
from tests.waiting import eventually

MANAGEMENT_TOKEN = "a5f3c9de-1d4c-4f25-9f0e-3b8f0f1c2d11"
_IMAGES = ("hashicorp/consul", "consul")


@dataclass(frozen=True, slots=True)
class Consul:
    """A running Consul; ``server`` is its process (None in a container), ``grpc_port`` is where Envoy asks it."""

    address: str
    token: str
    grpc_port: int
    server: Server | None

    def client(self, token: str | None = None, **limits: Any) -> ConsulClient:
        """A client with the management token, or with ``token``."""
        # A container's address may be one of the bridge that only this machine sees.
        limits.setdefault("insecure_http", self.server is None)
        return ConsulClient(Connection(self.address, token=self.token if token is None else token, **limits))

    def http(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the API past our client, with the management token."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"X-Consul-Token": self.token}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def consul_process(directory: Path, *, acl: bool = False, config: Mapping[str, Any] | None = None) -> Iterator[Consul]:
    """A Consul in development mode (one server, mesh on); with ``acl`` everything is denied but to the token.

    ``config`` is merged into the agent's configuration, its ports one by one.
    """
    with _agent(directory, ["-dev"], acl=acl, config=config) as consul:
        assert consul.server is not None
        consul.server.wait_until(lambda: _has_leader(consul), "ready")
        yield consul


@contextlib.contextmanager
def consul_without_leader(directory: Path) -> Iterator[Consul]:
    """A server that waits for two others, which never come."""
    options = ["-server", "-bootstrap-expect=3", f"-data-dir={directory / 'data'}"]
    with _agent(directory, options, config={"performance": {"rpc_hold_timeout": "100ms"}}) as consul:
        assert consul.server is not None
        consul.server.wait_until(lambda: _asked(consul, "/v1/agent/self"), "answering")
        yield consul


@contextlib.contextmanager
def consul_with_tls(directory: Path, ca_file: str, pair: Pair) -> Iterator[str]:
    """The https address of a Consul that demands certificates of the authority in ``ca_file``."""
    port = free_port()
    files = {"ca_file": ca_file, "cert_file": pair.certificate, "key_file": pair.key}
    config = {"tls": {"defaults": files, "https": {"verify_incoming": True}}}
    with _agent(directory, ["-dev"], https=port, config=config) as consul:
        assert consul.server is not None
        consul.server.wait_until(lambda: _has_leader(consul), "ready")
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def _agent(
    directory: Path,
    options: list[str],
    *,
    acl: bool = False,
    https: int = -1,
    config: Mapping[str, Any] | None = None,
) -> Iterator[Consul]:
    program = binary("consul")
    http, grpc = free_port(), free_port()
    settings = {
        "ports": {
            "http": http,
            "https": https,
            "grpc": grpc,
            "grpc_tls": -1,
            "dns": -1,
            "server": free_port(),
            "serf_lan": free_port(),
            "serf_wan": -1,
            **(config or {}).get("ports", {}),
        },
        **_acl(acl),
        **{key: value for key, value in (config or {}).items() if key != "ports"},
    }
    file = directory / "consul.json"
    file.write_text(json.dumps(settings))
    command = [program, "agent", *options, "-bind=127.0.0.1", "-client=127.0.0.1", f"-config-file={file}"]
    with running(command, directory) as server:
        yield Consul(f"http://127.0.0.1:{http}", MANAGEMENT_TOKEN if acl else "", grpc, server)


@contextlib.contextmanager
def consul_anyhow(directory: Path, *, acl: bool = False) -> Iterator[Consul]:
    """A Consul in a container where a daemon and an image are at hand, else as a process."""
    image = local_image(*_IMAGES)
    if image is None:
        with consul_process(directory, acl=acl) as consul:
            yield consul
        return
    settings = json.dumps(_acl(acl))
    command = f"consul agent -dev -client=0.0.0.0 -hcl='{settings}'"
    with container(image, command, port=8500) as address:
        consul = Consul(address, MANAGEMENT_TOKEN if acl else "", 0, None)
        eventually(lambda: _has_leader(consul))
        yield consul


def _acl(on: bool) -> dict[str, Any]:
    if not on:
        return {}
    return {
        "acl": {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": MANAGEMENT_TOKEN}},
    }


def _has_leader(consul: Consul) -> bool:
    # The catalog has the server's own node only once writes work too.
    return _asked(consul, "/v1/status/leader") and _asked(consul, "/v1/catalog/nodes")


def _asked(consul: Consul, path: str) -> bool:
    try:
        return bool(consul.http("GET", path))
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
