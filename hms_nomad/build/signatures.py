"""Signatures beside an image in its registry: written as cosign writes them, and read back."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from hms_nomad.build.attached import Attached, attach_text, attached, tag_of_texts
from hms_nomad.build.signing import PublicKey, Signer, holds, payload_of
from hms_nomad.clients.oci import RegistryClient

_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_ENDING = ".sig"
_LONGEST_PAYLOAD = 64 * 1024


class Signatures(Struct, frozen=True):
    """What an image's signatures come to: the first trusted key that signed it, and how many there are in all."""

    by: PublicKey | None
    count: int


def signature_tag(digest: str) -> str:
    """The tag under which the signatures of an image lie."""
    return tag_of_texts(digest, _ENDING)


def attach(client: RegistryClient, repository: str, name: str, digest: str, key: Signer) -> bool:
    """Sign an image and add the signature to those that are there; False when this key signed it already.

    Raises the errors of ``hms_nomad.clients.errors``, and SigningError.
    """
    if signatures(client, repository, digest, (key.public,)).by is not None:
        return False
    payload = payload_of(name, digest)
    text = Attached(_PAYLOAD, {_SIGNATURE: key.sign(payload)}, payload)
    attach_text(client, repository, digest, _ENDING, text)
    return True


def signatures(client: RegistryClient, repository: str, digest: str, keys: Sequence[PublicKey]) -> Signatures:
    """Who of ``keys`` signed an image. Raises the errors of ``hms_nomad.clients.errors``."""
    count = 0
    for text in attached(client, repository, digest, _ENDING, _PAYLOAD, _LONGEST_PAYLOAD):
        signature = str(text.annotations.get(_SIGNATURE, ""))
        count += 1
        for key in keys:
            if holds(text.data, signature, digest, key):
                return Signatures(key, count)
    return Signatures(None, count)
