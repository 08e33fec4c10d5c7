"""Texts that belong to an image, beside it in its registry: layers of a manifest under a tag made of its digest.

This is where cosign puts signatures (sha256-HEX.sig) and statements (sha256-HEX.att), and looks for them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient, digest_of

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MOST = 50
"""How many texts under one tag are looked at: the newest, which are the last."""


@dataclass(frozen=True, slots=True)
class Attached:
    """One text of those under a tag."""

    media_type: str
    annotations: Mapping[str, str]
    data: bytes = field(repr=False)


def attached(
    client: RegistryClient, repository: str, digest: str, ending: str, media_type: str, longest: int
) -> Iterator[Attached]:
    """The texts of an image under an ending (".sig"), each read when it is its turn; those that are gone are left out.

    Raises the errors of ``hms_nomad.clients.errors``.
    """
    for layer in _layers(client, repository, digest, ending)[-_MOST:]:
        if layer.get("mediaType") != media_type or int(layer.get("size", 0)) > longest:
            continue
        try:
            data = client.blob(repository, str(layer["digest"]))
        except NotFoundError:
            continue
        yield Attached(media_type, layer.get("annotations") or {}, data)


def attach_text(client: RegistryClient, repository: str, digest: str, ending: str, text: Attached) -> None:
    """Add a text to those that are there. Raises the errors of ``hms_nomad.clients.errors``."""
    row = {"mediaType": text.media_type, "digest": digest_of(text.data), "size": len(text.data)}
    layers = [*_layers(client, repository, digest, ending), {**row, "annotations": dict(text.annotations)}]
    diff_ids = [layer["digest"] for layer in layers]
    about = {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = json.dumps(about, separators=(",", ":")).encode()
    push_bytes(client, repository, text.data)
    push_bytes(client, repository, config)
    described = {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": layers}
    data = json.dumps(body, separators=(",", ":")).encode()
    client.put_manifest(repository, tag_of_texts(digest, ending), data, OCI_MANIFEST)


def tag_of_texts(digest: str, ending: str) -> str:
    """The tag under which the texts of an image lie."""
    return f"{digest.replace(':', '-')}{ending}"


def push_bytes(client: RegistryClient, repository: str, data: bytes) -> None:
    """Upload a short blob. Raises the errors of ``hms_nomad.clients.errors``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "blob")
        file.write_bytes(data)
        client.push_blob(repository, digest_of(data), file)


def _layers(client: RegistryClient, repository: str, digest: str, ending: str) -> list[Mapping[str, Any]]:
    found = client.manifest(repository, tag_of_texts(digest, ending))
    return list(found.body.get("layers") or ()) if found else []
