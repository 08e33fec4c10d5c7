"""An image that was built -> what lies beside it: its bill of materials and, with a key, who built it from what.

Also what is known of the making of images that were built before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.progress import Event, Report
from hms_nomad.build.contents import contents_of
from hms_nomad.build.image import CONFIG, LAYER, BuiltImage
from hms_nomad.build.packages import Package, packages_in, runtimes_in
from hms_nomad.build.referrers import attach_document, documents
from hms_nomad.build.sbom import MEDIA_TYPE, Described, bill_of
from hms_nomad.clients.oci import RegistryClient, digest_of
from hms_nomad.compile.desired import Evidence
from hms_nomad.spec.image import Reference
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.revision import Revision

if TYPE_CHECKING:
    from hms_nomad.build.signing import PublicKey, Signer

_REVISION = "org.opencontainers.image.revision"


class Making(Struct, frozen=True):
    """How one image was built: what for, out of what, by which engine. ``sources`` is the SHA-256 of what it got.

    ``parameters`` is what was asked of the engine, ``bases`` are the images that it began with, by their digests;
    ``started`` is in seconds since 1970.
    """

    spec: Spec
    revision: Revision
    sources: str
    engine: str
    started: float
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)
    bases: Mapping[str, str] = msgspec.field(default_factory=dict)


def seal(
    client: RegistryClient,
    reference: Reference,
    digest: str,
    images: Sequence[BuiltImage],
    making: Making,
    key: Signer | None,
    finished: float,
    report: Report,
) -> Evidence:
    """Put beside an image that was pushed its bill of materials, and with a key its signature and signed statement.

    ``finished`` is seconds since 1970. Raises BuildError, SigningError, and the errors of ``hms_nomad.clients.errors``.
    """
    repository = reference.repository
    packages = sorted({one for image in images for one in _packages(image)})
    bill = bill_of(Described(reference.name, making.spec.version, digest, making.revision.time), packages)
    attach_document(client, repository, digest, MEDIA_TYPE, bill, {"org.opencontainers.image.title": "bom.cdx.json"})
    known = Evidence(commit=making.revision.name, bill=digest_of(bill))
    report(Event("build", f"{len(packages)} packages are in its bill of materials", {"bill": known.bill}))
    if key is None:
        return known
    from hms_nomad.build.signatures import attach
    from hms_nomad.build.statement import Made, statement_of
    from hms_nomad.build.statements import attach_statement

    who = author().who
    made = Made(
        name=reference.name,
        digest=digest,
        parameters=making.parameters,
        sources=making.sources,
        engine=making.engine,
        who=who,
        host=who.rpartition("@")[2],
        started=making.started,
        finished=finished,
        commit=making.revision.commit,
        source=making.revision.source,
        changed=making.revision.changed,
        bases=making.bases,
        bill=known.bill,
        bill_type=MEDIA_TYPE,
    )
    statement = _stated(client, reference, digest, known, key) or attach_statement(
        client, repository, digest, statement_of(made), key
    )
    attach(client, repository, reference.name, digest, key)
    text = f"{reference.name} is signed by {key.public.fingerprint}, and so is the statement of how it was built"
    report(Event("sign", text, {"key": key.public.fingerprint, "statement": statement}))
    return replace(known, statement=statement)


def _stated(client: RegistryClient, reference: Reference, digest: str, known: Evidence, key: Signer) -> str:
    """The statement of this key that says the same already: built again, the same sources are the same image."""
    from hms_nomad.build.statement import provenance_of
    from hms_nomad.build.statements import statements

    for one in statements(client, reference.repository, digest, (key.public,)).trusted:
        said = provenance_of(one.text)
        if (said.name, said.bill) == (known.commit, known.bill):
            return one.digest
    return ""


def known_evidence(client: RegistryClient, reference: Reference, keys: Sequence[PublicKey]) -> Evidence:
    """What the registry holds of the making of an image that was built before.

    A statement counts when one of ``keys`` signed it. Raises the errors of ``hms_nomad.clients.errors``.
    """
    from hms_nomad.build.statements import statements

    repository, digest = reference.repository, reference.digest
    bills = documents(client, repository, digest, MEDIA_TYPE)
    trusted = statements(client, repository, digest, keys).trusted if keys else ()
    return Evidence(
        commit=revision_in(client, reference),
        bill=digest_of(bills[0]) if bills else "",
        statement=trusted[0].digest if trusted else "",
    )


def revision_in(client: RegistryClient, reference: Reference) -> str:
    """The commit that an image itself names, or "". Raises the errors of ``hms_nomad.clients.errors``."""
    found = client.manifest(reference.repository, reference.digest)
    return str(((found.body.get("annotations") or {}) if found else {}).get(_REVISION, ""))


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _packages(image: BuiltImage) -> Iterator[Package]:
    """What its files tell, and the runtime that its configuration names."""
    yield from packages_in(contents_of(blob.file for blob in image.blobs if blob.media_type == LAYER))
    for blob in image.blobs:
        if blob.media_type == CONFIG:
            yield from runtimes_in((json.loads(blob.file.read_bytes()).get("config") or {}).get("Env") or ())
