"""Digests and keys -> signatures in cosign's simple-signing form, and whether one holds; pure.

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md: the signed text names the digest, and the
signature is ECDSA over P-256 with SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hms_nomad.build.errors import KeyFileError

_TYPE = "cosign container image signature"
_ALGORITHM = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with; ``fingerprint`` is the SHA-256 of its DER form, shortened."""

    name: str
    key: ec.EllipticCurvePublicKey = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """What people compare."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return sha256(self.key.public_bytes(serialization.Encoding.DER, form)).hexdigest()[:16]


class Signer(Protocol):
    """Whatever signs: a key in a file, or a program that holds one."""

    @property
    def public(self) -> PublicKey:
        """The key by which its signatures are checked."""

    def sign(self, payload: bytes) -> str:
        """The signature of bytes, in Base64."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs, out of a PEM file."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The key by which its signatures are checked."""
        return PublicKey(self.name, self.key.public_key())

    def sign(self, payload: bytes) -> str:
        """The signature in Base64."""
        return base64.b64encode(self.key.sign(payload, _ALGORITHM)).decode()


def public_key(pem: bytes, name: str) -> PublicKey:
    """The key of a PEM file, as ``cosign generate-key-pair`` and ``openssl ec -pubout`` write it.

    Raises KeyFileError.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{name} holds no public key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError(f"{name} is no key of the curve P-256, which image signatures use")
    return PublicKey(name, key)


def private_key(pem: bytes, name: str, password: bytes | None) -> PrivateKey:
    """The key of a PEM file (PKCS 8 or SEC 1), with its password where it has one. Raises KeyFileError."""
    try:
        key = serialization.load_pem_private_key(pem, password)
    except TypeError:
        has = "needs its password in COSIGN_PASSWORD" if password is None else "has no password, and one is given"
        raise KeyFileError(f"the key {name} {has}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{name} holds no private key in PEM, or its password is another one") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError(f"{name} is no key of the curve P-256, which image signatures use")
    return PrivateKey(name, key)


def payload_of(name: str, digest: str) -> bytes:
    """The text that is signed for the image ``name`` with a digest."""
    critical = {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": _TYPE}
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def is_signed(payload: bytes, signature: str, key: PublicKey) -> bool:
    """Whether a signature in Base64 is one by ``key`` over these bytes."""
    try:
        key.key.verify(base64.b64decode(signature, validate=True), payload, _ALGORITHM)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def holds(payload: bytes, signature: str, digest: str, key: PublicKey) -> bool:
    """Whether a signature is one by ``key`` over a text that names ``digest``."""
    if not is_signed(payload, signature, key):
        return False
    try:
        critical = json.loads(payload)["critical"]
        return bool(critical["type"] == _TYPE and critical["image"]["docker-manifest-digest"] == digest)
    except (ValueError, KeyError, TypeError):
        return False
