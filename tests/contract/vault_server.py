"""Options -> a Vault or OpenBao server in development mode, from the program or from a local image."""

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
from hms_nomad.clients.vault import VaultClient
from tests.binaries import binary
from tests.certificates import Pair
from tests.contract.containers import container, local_image
from tests.processes import Server, accepts, free_port, running

ROOT_TOKEN = "root-of-the-contract-tests"
_IMAGES = ("hashicorp/vault", "vault", "openbao/openbao", "quay.io/openbao/openbao")


@dataclass(frozen=True, slots=True)
class Vault:
    """A running server; ``server`` is its process (None in a container)."""

    address: str
    token: str
    server: Server | None

    def client(self, token: str | None = None, **limits: Any) -> VaultClient:
        """A client with the root token, or with ``token``."""
        # A container's address may be one of the bridge that only this machine sees.
        limits.setdefault("insecure_http", self.server is None)
        return VaultClient(Connection(self.address, token=self.token if token is None else token, **limits))

    def http(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the API past our client, with the root token."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Vault-Token": self.token, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/v1/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def vault_process(directory: Path) -> Iterator[Vault]:
    """An unsealed server that keeps everything in memory."""
    program = binary("vault", "bao")
    port = free_port()
    command = [
        program,
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]
    with running(command, directory) as server:
        vault = Vault(f"http://127.0.0.1:{port}", ROOT_TOKEN, server)
        server.wait_until(lambda: _answers(vault), "ready")
        yield vault


@contextlib.contextmanager
def new_vault(directory: Path) -> Iterator[Vault]:
    """A server that nobody has initialized."""
    program = binary("vault", "bao")
    port = free_port()
    file = directory / "vault.json"
    listener = {"tcp": {"address": f"127.0.0.1:{port}", "tls_disable": True}}
    file.write_text(json.dumps({"storage": {"inmem": {}}, "listener": listener, "disable_mlock": True}))
    with running([program, "server", f"-config={file}"], directory) as server:
        vault = Vault(f"http://127.0.0.1:{port}", "", server)
        server.wait_until(lambda: _listens(vault), "listening")
        yield vault


@contextlib.contextmanager
def vault_with_tls(directory: Path, ca_file: str, pair: Pair) -> Iterator[str]:
    """The https address of a server that demands certificates of the authority in ``ca_file``."""
    program = binary("vault", "bao")
    port = free_port()
    file = directory / "vault.json"
    listener = {
        "address": f"127.0.0.1:{port}",
        "tls_cert_file": pair.certificate,
        "tls_key_file": pair.key,
        "tls_client_ca_file": ca_file,
        "tls_require_and_verify_client_cert": True,
    }
    file.write_text(json.dumps({"storage": {"inmem": {}}, "listener": {"tcp": listener}, "disable_mlock": True}))
    with running([program, "server", f"-config={file}"], directory) as server:
        server.wait_until(lambda: accepts(port), "listening")
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def vault_anyhow(directory: Path) -> Iterator[Vault]:
    """A server in a container where a daemon and an image are at hand, else as a process."""
    image = local_image(*_IMAGES)
    if image is None:
        with vault_process(directory) as vault:
            yield vault
        return
    command = f"server -dev -dev-root-token-id={ROOT_TOKEN} -dev-listen-address=0.0.0.0:8200"
    with container(image, command, port=8200) as address:
        yield Vault(address, ROOT_TOKEN, None)


def _answers(vault: Vault) -> bool:
    try:
        # The KV engine of the development mode is mounted last.
        return "secret/" in vault.http("GET", "sys/mounts")["data"]
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _listens(vault: Vault) -> bool:
    try:
        vault.http("GET", "sys/seal-status")
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True
