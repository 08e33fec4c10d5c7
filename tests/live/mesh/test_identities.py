"""Certificates of a real Consul: a caller speaks to whoever proves the right identity, and to nobody else."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import LeafCertificate
from hms_nomad.clients.errors import DeniedError, UnavailableError, UnknownOutcomeError
from hms_nomad.clients.http_call import HTTP, Target, ask, mesh_context
from tests.contract.consul_server import Consul, consul_process

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def other_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A second mesh, with another authority."""
    with consul_process(tmp_path_factory.mktemp("other")) as server:
        yield server


@contextlib.contextmanager
def sidecar(consul: ConsulClient, leaf: LeafCertificate, folder: Path, answer: bytes) -> Iterator[int]:
    """What a sidecar is to its callers: shows ``leaf``, asks for theirs, answers one request after another."""
    file = folder / f"{leaf.service}.pem"
    file.write_text(leaf.certificate_pem + "\n" + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata="\n".join(root.pem for root in consul.ca_roots()))
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with (
                contextlib.suppress(OSError, ssl.SSLError),
                context.wrap_socket(connection, server_side=True) as secured,
            ):
                secured.recv(65536)
                secured.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def call(consul: ConsulClient, port: int, identity: str, caller: str = "payment-svc"):
    context = mesh_context(consul.leaf_certificate(caller), consul.ca_roots(), (HTTP,))
    return ask(Target("receipt-svc", "127.0.0.1", port, identity, "receipt-svc.x"), "GET", "/", {}, None, 5.0, context)


def test_both_ends_prove_who_they_are(strict_consul: Consul, tmp_path: Path) -> None:
    consul = strict_consul.client()
    leaf = consul.leaf_certificate("receipt-svc")
    with sidecar(consul, leaf, tmp_path, OK) as port:
        answer = call(consul, port, leaf.spiffe_id)
    assert (answer.status, answer.body, answer.peer) == (200, b"ok", leaf.spiffe_id)


def test_another_service_of_the_same_mesh_gets_no_request(strict_consul: Consul, tmp_path: Path) -> None:
    consul = strict_consul.client()
    wanted = consul.leaf_certificate("receipt-svc").spiffe_id
    with (
        sidecar(consul, consul.leaf_certificate("impostor"), tmp_path, OK) as port,
        pytest.raises(DeniedError, match=r"it is spiffe://.*/svc/impostor, not spiffe://.*/svc/receipt-svc"),
    ):
        call(consul, port, wanted)


def test_a_certificate_of_another_mesh_is_refused(strict_consul: Consul, other_consul: Consul, tmp_path: Path) -> None:
    consul, other = strict_consul.client(), other_consul.client()
    leaf = other.leaf_certificate("receipt-svc")
    with sidecar(other, leaf, tmp_path, OK) as port, pytest.raises(DeniedError, match="is not the mesh's"):
        call(consul, port, leaf.spiffe_id)


def test_what_speaks_no_tls_or_ends_early_is_told(strict_consul: Consul, tmp_path: Path) -> None:
    consul = strict_consul.client()
    leaf = consul.leaf_certificate("receipt-svc")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UnavailableError, match="refused"):
        call(consul, port, leaf.spiffe_id)
    with (
        sidecar(consul, leaf, tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf") as port,
        pytest.raises(UnknownOutcomeError, match="the connection broke"),
    ):
        call(consul, port, leaf.spiffe_id)


def test_the_key_is_on_no_disk_and_in_no_text(
    strict_consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consul = strict_consul.client()
    leaf = consul.leaf_certificate("payment-svc")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    context = mesh_context(leaf, consul.ca_roots(), (HTTP,))
    assert not list(tmp_path.iterdir())
    assert leaf.key_pem.splitlines()[1] not in repr((leaf, context))


def test_a_local_port_ends_quietly_with_the_process(tmp_path: Path) -> None:
    """Without a mesh behind it: the port opens, says why a connection is not carried, and SIGTERM ends it with 0."""
    script = (
        "import json, sys\n"
        "from hms_nomad.clients.errors import UnavailableError\n"
        "from hms_nomad.clients.forward import forward\n"
        "def way():\n"
        "    raise UnavailableError('db', 'be called', 'consul', 'no instance of it is healthy')\n"
        "def carried(one):\n"
        "    print(json.dumps(one.failure), flush=True)\n"
        "forward(0, way, lambda port: print(port, flush=True), carried)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            assert connection.recv(10) == b""
        assert "no instance of it is healthy" in json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(20) == 0
