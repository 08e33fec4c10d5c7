"""The smallest image, a pair of keys that sign it, and a session that reaches nothing but their registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient, digest_of
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_images import Images
from hms_nomad.workflows.session import Session

EMPTY_CONFIG: Mapping[str, Any] = {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": digest_of(b"{}"),
    "size": 2,
}
"""What a manifest says of the configuration that ``push_smallest`` leaves in a repository."""


def push_smallest(client: RegistryClient, folder: Path, repository: str, tag: str, **annotations: str) -> str:
    """Push an image without a layer, by way of a file in ``folder``; answers its digest.

    ``annotations`` make it another image than the rest.
    """
    blob = folder / "config"
    blob.write_bytes(b"{}")
    client.push_blob(repository, digest_of(b"{}"), blob)
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY_CONFIG, "layers": []}
    if annotations:
        body["annotations"] = annotations
    return client.put_manifest(repository, tag, json.dumps(body).encode(), OCI_MANIFEST)


def key_pair(folder: Path, name: str, password: bytes | None = None) -> Path:
    """Write NAME.key and NAME.pub; answers the private one."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, hidden))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private


def trusting(folder: Path, name: str) -> Path:
    """A file of rules by which only what the key NAME signed may run."""
    rules = folder / "rules.yml"
    rules.write_text(f"rules:\n  - name: signed\n    why: reviewed\n    require_signature: [{name}.pub]\n")
    return rules


def registry_session(host: str, *rules: Path) -> Session:
    """Of the servers it has a leader of Nomad alone: whatever else one were asked for would be an AttributeError."""
    platform = Platform(images=Images(registry=host), rules=tuple(map(str, rules)))
    nomad = cast("NomadClient", SimpleNamespace(leader=lambda: "x"))
    return Session(platform, nomad, cast("ConsulClient", SimpleNamespace()), None, 0.0, RetryBudget())
