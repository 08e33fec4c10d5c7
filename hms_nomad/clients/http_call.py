"""A request -> its answer: plain to a gateway, or by mutual TLS to a sidecar whose identity is checked.

The standard library's client is used: the mesh's certificates name no host but an identity, which no other library
here can be told to check.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from hms_nomad.clients.consul_types import CaRoot, LeafCertificate
from hms_nomad.clients.errors import DeniedError, UnavailableError, UnknownOutcomeError

_LONGEST_BODY = 64 * 1024 * 1024
HTTP = "http/1.1"
"""What ``ask`` speaks, as the handshake names it."""


class Target(Struct, frozen=True):
    """Where a request goes: an address, and the name under which errors speak of it.

    ``identity`` is the SPIFFE id that the other side must prove, ``server_name`` the name sent in the handshake; both
    are empty for a plain connection.
    """

    name: str
    host: str
    port: int
    identity: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. ``peer`` is the SPIFFE id that the other side proved, empty on a plain connection."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    peer: str = ""

    def header(self, name: str) -> str:
        """The first header of this name, in any case; "" when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def mesh_context(leaf: LeafCertificate, roots: Sequence[CaRoot], protocols: Sequence[str]) -> ssl.SSLContext:
    """The TLS settings of a caller in the mesh: shows ``leaf`` and trusts nothing but the mesh's ``roots``.

    ``protocols`` are offered in the handshake (ALPN). The names of hosts are not compared, since the mesh's
    certificates have none: ``open_socket`` compares the identity. The key is never written to a disk.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata="\n".join(root.pem for root in roots))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    with _in_memory(leaf.certificate_pem + "\n" + leaf.key_pem) as file:
        context.load_cert_chain(file)
    return context


def public_context(ca_file: str | None) -> ssl.SSLContext:
    """The TLS settings of a caller from outside, who compares the host's name with its certificate.

    ``ca_file`` is the PEM file of the authority that is trusted, None for those of this machine. Raises OSError for
    a file that cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([HTTP])
    return context


@contextlib.contextmanager
def open_socket(target: Target, timeout: float, context: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    """A connection to a target; with ``context`` encrypted, and only after the other side proved its identity.

    ``timeout`` in seconds bounds connecting and each wait for data. Raises UnavailableError when it cannot be reached
    and DeniedError when it is not who it should be.
    """
    operation, address = "open a connection", f"{target.host}:{target.port}"
    try:
        plain = socket.create_connection((target.host, target.port), timeout=timeout)
    except OSError as error:
        raise UnavailableError(target.name, operation, address, error.strerror or str(error) or "no answer") from None
    with plain:
        if context is None:
            yield plain
            return
        try:
            secured = context.wrap_socket(plain, server_hostname=target.server_name or None)
        except ssl.SSLCertVerificationError as error:
            owner = "the mesh's" if target.identity else "good"
            raise DeniedError(
                target.name, operation, address, f"its certificate is not {owner}: {error.verify_message}"
            ) from None
        except OSError as error:
            raise UnavailableError(target.name, operation, address, f"no TLS: {error.strerror or error}") from None
        with secured:
            shown = identity_of(secured)
            if target.identity and shown != target.identity:
                raise DeniedError(target.name, operation, address, f"it is {shown or 'nobody'}, not {target.identity}")
            yield secured


def identity_of(connection: ssl.SSLSocket) -> str:
    """The SPIFFE id in the certificate that the other side showed; "" when it has none."""
    certificate: Mapping[str, Any] = connection.getpeercert() or {}
    names = certificate.get("subjectAltName") or ()
    return next((str(value) for kind, value in names if kind == "URI" and str(value).startswith("spiffe://")), "")


def ask(
    target: Target,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout: float,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request and read its whole answer, whatever its status.

    ``timeout`` in seconds bounds connecting and each wait for data. Raises UnavailableError when nothing was sent,
    UnknownOutcomeError when the answer was lost, DeniedError as ``open_socket``.
    """
    with open_socket(target, timeout, context) as connection:
        peer = identity_of(connection) if isinstance(connection, ssl.SSLSocket) else ""
        client = http.client.HTTPConnection(target.host, target.port, timeout=timeout)
        client.sock = connection
        try:
            client.request(method, path, body=body, headers={"Connection": "close", **headers})
            answer = client.getresponse()
            content = answer.read(_LONGEST_BODY)
            if answer.length:
                # With a limit the library hands out what it got, however little that is.
                raise http.client.IncompleteRead(content, answer.length)
        except (OSError, http.client.HTTPException) as error:
            raise UnknownOutcomeError(
                target.name, f"{method} {path}", f"{target.host}:{target.port}", _lost(error)
            ) from None
        return Answer(answer.status, answer.reason, tuple(answer.getheaders()), content, peer)


def _lost(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "connected, but no answer in time"
    if isinstance(error, http.client.IncompleteRead) and len(error.partial) >= _LONGEST_BODY:
        return f"the answer is longer than {_LONGEST_BODY // 1024 // 1024} MiB"
    return f"the connection broke: {getattr(error, 'strerror', None) or type(error).__name__}"


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """The name of a file that exists in memory only, because OpenSSL's interface takes nothing but files."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as stream:
            stream.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
