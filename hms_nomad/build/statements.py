"""Signed statements beside an image in its registry: written as cosign writes its attestations, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from hms_nomad.build.attached import Attached, attach_text, attached
from hms_nomad.build.signing import PublicKey, Signer
from hms_nomad.build.statement import PREDICATE, envelope_of, is_about, opened
from hms_nomad.clients.oci import RegistryClient, digest_of

_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
_ENDING = ".att"
_LONGEST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement that a trusted key signed; ``digest`` is that of the envelope."""

    text: bytes = field(repr=False)
    digest: str
    by: PublicKey


class Statements(Struct, frozen=True):
    """The statements of how an image was made that trusted keys signed, the newest first, and how many there are."""

    trusted: tuple[SignedStatement, ...]
    count: int


def attach_statement(client: RegistryClient, repository: str, digest: str, statement: bytes, key: Signer) -> str:
    """Sign a statement and add it to those of the image; answers the digest of its envelope.

    Raises the errors of ``hms_nomad.clients.errors``, and SigningError.
    """
    envelope = envelope_of(statement, key)
    # cosign wants the first annotation to be there, and finds statements by the second one.
    annotations = {"dev.cosignproject.cosign/signature": "", "predicateType": PREDICATE}
    attach_text(client, repository, digest, _ENDING, Attached(_ENVELOPE, annotations, envelope))
    return digest_of(envelope)


def statements(client: RegistryClient, repository: str, digest: str, keys: Sequence[PublicKey]) -> Statements:
    """What is stated of an image's making. Raises the errors of ``hms_nomad.clients.errors``."""
    trusted: list[SignedStatement] = []
    count = 0
    for text in attached(client, repository, digest, _ENDING, _ENVELOPE, _LONGEST):
        if text.annotations.get("predicateType", PREDICATE) != PREDICATE:
            continue
        count += 1
        found = opened(text.data, keys)
        if found is not None and is_about(found[0], digest):
            trusted.append(SignedStatement(found[0], digest_of(text.data), found[1]))
    return Statements(tuple(reversed(trusted)), count)
