"""A directory -> the stack's own certificate authority, and a certificate for each of its servers (PEM, keys 0600)."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from hms_nomad.dev.errors import StackError
from hms_nomad.platform.private import write_private

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 365
# A stack may lie for weeks between two times that it is brought up.
_RENEW_BEFORE_DAYS = 60
# Clocks of machines that a stack moves between are not quite the same.
_BACKDATE = datetime.timedelta(minutes=5)


class Pair(Struct, frozen=True):
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path


class Authority(Struct, frozen=True):
    """The authority of one stack; ``directory`` holds ca.pem, ca.key and a pair for each server."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        """What clients verify the servers with."""
        return self.directory / "ca.pem"

    def pair(self, server: str) -> Pair:
        """Where the certificate of a server lies."""
        return Pair(self.directory / f"{server}.pem", self.directory / f"{server}.key")


def ensure_authority(directory: Path, servers: Mapping[str, Sequence[str]]) -> Authority:
    """Make the authority, and for each server a certificate for its DNS names, localhost and 127.0.0.1.

    What is there and holds for long enough stays. Raises StackError for files that cannot be read.
    """
    authority = Authority(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key_file = directory / "ca.key"
    if not (authority.ca_file.is_file() and ca_key_file.is_file()):
        _make_root(authority.ca_file, ca_key_file)
    try:
        root = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
        key = serialization.load_pem_private_key(ca_key_file.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise StackError(
            f"the stack's certificate authority in {directory} cannot be read ({type(error).__name__})",
            "take the stack down and bring it up anew",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StackError(f"{ca_key_file} is no key of ours", "take the stack down and bring it up anew")
    for server, names in servers.items():
        pair = authority.pair(server)
        if not _holds(pair, root, names):
            _issue(pair, server, names, root, key)
    return authority


def _make_root(certificate: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hms-nomad development stack")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    built = (
        _begun(name, name, key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(certificate, key_file, built, key)


def _issue(
    pair: Pair, server: str, names: Sequence[str], root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else server)])
    hosts = [x509.DNSName(name) for name in (*names, "localhost")]
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    # Servers show the same certificate to each other, as clients.
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    built = (
        _begun(subject, root.subject, key, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(uses, critical=False)
        .add_extension(x509.SubjectAlternativeName([*hosts, address]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    _write(pair.certificate, pair.key, built, key)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _holds(pair: Pair, root: x509.Certificate, names: Sequence[str]) -> bool:
    """Whether a server's certificate is of this authority, for these names, and far enough from its end."""
    try:
        stored = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        stored.verify_directly_issued_by(root)
        hosts = stored.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_RENEW_BEFORE_DAYS)
    known = set(hosts.get_values_for_type(x509.DNSName))
    return pair.key.is_file() and set(names) <= known and stored.not_valid_after_utc > soon


def _write(certificate: Path, key_file: Path, built: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    write_private(key_file, pem.decode("ascii"))
    write_private(certificate, built.public_bytes(serialization.Encoding.PEM).decode("ascii"))
