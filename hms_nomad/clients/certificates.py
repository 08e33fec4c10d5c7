"""PEM, DER or a handshake -> what a certificate says: whose it is, who signed it, and for how long it holds."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.http_call import Target, open_socket

_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate (https://www.rfc-editor.org/rfc/rfc5280). Times are in UTC, the ``serial`` in hexadecimal digits.

    ``names`` are its subject's alternative names. ``key_id`` names the key that it speaks of and ``signer_key_id`` the
    one that signed it, as Consul writes them ("" where it does not say).
    """

    subject: str
    issuer: str
    serial: str
    issued: datetime
    expires: datetime
    names: tuple[str, ...] = ()
    key_id: str = ""
    signer_key_id: str = ""
    parsed: x509.Certificate | None = field(default=None, repr=False, compare=False)

    @property
    def lifetime(self) -> timedelta:
        """From its first to its last moment."""
        return self.expires - self.issued

    def at(self, share: float) -> datetime:
        """When that share of its lifetime is over, such as 0.5."""
        return self.issued + self.lifetime * share

    def signed_by(self, other: Certificate) -> bool:
        """Whether the key of ``other`` really signed this one."""
        if self.parsed is None or other.parsed is None:
            return False
        try:
            self.parsed.verify_directly_issued_by(other.parsed)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def read_pem(text: str) -> tuple[Certificate, ...]:
    """All certificates of a PEM text, in its order. Raises ValueError for a text without any."""
    return tuple(_of(one) for one in x509.load_pem_x509_certificates(text.encode()))


def read_der(data: bytes) -> Certificate:
    """One certificate as a handshake hands it out. Raises ValueError for anything else."""
    return _of(x509.load_der_x509_certificate(data))


def shown_by(server: str, connection: Connection) -> Certificate:
    """The certificate of a server, in a handshake that verifies it as every call does.

    Raises DeniedError for one that is not trusted, is for another name or out of date, UnavailableError where nobody
    answers or no TLS is spoken.
    """
    parts = urlsplit(connection.address)
    host = parts.hostname or ""
    target = Target(server, host, parts.port or _HTTPS_PORT, server_name=connection.tls_server_name or host)
    with open_socket(target, connection.connect_timeout, connection.tls()) as opened:
        shown = opened.getpeercert(binary_form=True) if isinstance(opened, ssl.SSLSocket) else None
    if not shown:
        raise UnavailableError(server, "read its certificate", connection.address, "it showed none")
    return read_der(shown)


def _of(one: x509.Certificate) -> Certificate:
    return Certificate(
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        serial=one.serial_number.to_bytes((one.serial_number.bit_length() + 7) // 8).hex().upper(),
        issued=one.not_valid_before_utc,
        expires=one.not_valid_after_utc,
        names=_names(one),
        key_id=_key_id(one),
        signer_key_id=_signer_key_id(one),
        parsed=one,
    )


def _names(one: x509.Certificate) -> tuple[str, ...]:
    try:
        found = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(str(name.value) for name in found)


def _key_id(one: x509.Certificate) -> str:
    try:
        return _written(one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest)
    except (x509.ExtensionNotFound, ValueError):
        return ""


def _signer_key_id(one: x509.Certificate) -> str:
    try:
        found = one.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return _written(found or b"")


def _written(key_id: bytes) -> str:
    return key_id.hex(":")
