"""Documents that refer to an image in its registry, such as its bill of materials: pushed, and found again.

https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage. A registry that keeps
no list of them has it under a tag of the image's digest, as the specification of version 1.1 says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hms_nomad.build.attached import push_bytes
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.oci import OCI_INDEX, OCI_MANIFEST, RegistryClient, digest_of

_EMPTY = "application/vnd.oci.empty.v1+json"
_NOTHING = b"{}"


def attach_document(
    client: RegistryClient, repository: str, digest: str, media_type: str, data: bytes, about: Mapping[str, str]
) -> str:
    """Push a document that refers to an image, once; ``about`` are annotations. Answers the document's own digest.

    Raises the errors of ``hms_nomad.clients.errors``.
    """
    image = client.manifest(repository, digest)
    if image is None:
        raise NotFoundError("registry", f"attach a document to {repository}@{digest}", client.address, "it has no such")
    for blob in (data, _NOTHING):
        push_bytes(client, repository, blob)
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": media_type,
        "config": {"mediaType": _EMPTY, "digest": digest_of(_NOTHING), "size": len(_NOTHING)},
        "layers": [{"mediaType": media_type, "digest": digest_of(data), "size": len(data)}],
        "subject": {"mediaType": image.media_type, "digest": digest, "size": len(image.data)},
        "annotations": dict(sorted(about.items())),
    }
    manifest = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    own = digest_of(manifest)
    client.put_manifest(repository, own, manifest, OCI_MANIFEST)
    if client.referrers(repository, digest) is None:
        _list(client, repository, digest, {"digest": own, "size": len(manifest), "artifactType": media_type})
    return digest_of(data)


def documents(client: RegistryClient, repository: str, digest: str, media_type: str) -> tuple[bytes, ...]:
    """The documents of a kind that refer to an image. Raises the errors of ``hms_nomad.clients.errors``."""
    found = []
    listed = client.referrers(repository, digest)
    rows = _listed(client, repository, digest) if listed is None else list(listed)
    for row in rows:
        if row.get("artifactType") != media_type:
            continue
        manifest = client.manifest(repository, str(row["digest"]))
        if manifest is None or (manifest.body.get("subject") or {}).get("digest") != digest:
            continue
        for layer in manifest.body.get("layers") or ():
            if layer.get("mediaType") == media_type:
                found.append(client.blob(repository, str(layer["digest"])))
    return tuple(found)


def _list(client: RegistryClient, repository: str, digest: str, row: Mapping[str, Any]) -> None:
    """Add a row to the list under the tag. Two writers at once may lose one of theirs: whoever builds again adds it."""
    rows = _listed(client, repository, digest)
    if any(one.get("digest") == row["digest"] for one in rows):
        return
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [*rows, {"mediaType": OCI_MANIFEST, **row}],
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    client.put_manifest(repository, digest.replace(":", "-"), data, OCI_INDEX)


def _listed(client: RegistryClient, repository: str, digest: str) -> list[Mapping[str, Any]]:
    found = client.manifest(repository, digest.replace(":", "-"))
    return list(found.body.get("manifests") or ()) if found else []
