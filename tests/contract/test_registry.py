"""What a real registry of images, and a store of archives, answer to each call of ours."""

from __future__ import annotations

import json

import pytest

from hms_nomad.clients.artifacts import ArtifactStore
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient, digest_of
from tests.registry_server import answering, handler, image_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with image_registry(tmp_path_factory.mktemp("registry")) as host:
        client = RegistryClient(Connection(f"http://{host}"))
        yield client
        client.close()


@pytest.mark.contract("RegistryClient.ping", "RegistryClient.resolve", "RegistryClient.manifest")
def test_a_tag_that_is_not_there_is_none(registry):
    registry.ping()
    assert registry.resolve("gov/none", "1.0") is None
    assert registry.manifest("gov/none", "sha256:" + "0" * 64) is None


@pytest.mark.contract("RegistryClient.push_blob", "RegistryClient.has_blob", "RegistryClient.blob")
def test_a_blob_is_pushed_once_and_read_back(registry, tmp_path):
    data = b"\0layer\xff" * 100_000
    file = tmp_path / "blob"
    file.write_bytes(data)
    digest, heard = digest_of(data), []
    assert registry.has_blob("gov/receipt", digest) is False
    assert registry.push_blob("gov/receipt", digest, file, lambda done, size: heard.append((done, size))) is True
    assert heard[-1] == (len(data), len(data))
    assert registry.has_blob("gov/receipt", digest) is True
    assert registry.push_blob("gov/receipt", digest, file) is False
    assert registry.blob("gov/receipt", digest) == data
    with pytest.raises(NotFoundError, match="registry at http"):
        registry.blob("gov/receipt", "sha256:" + "0" * 64)


@pytest.mark.contract("RegistryClient.put_manifest")
def test_a_manifest_goes_under_its_tag_and_its_digest(registry, tmp_path):
    file = tmp_path / "config"
    file.write_bytes(b"{}")
    registry.push_blob("gov/receipt", digest_of(b"{}"), file)
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    data = json.dumps(body).encode()
    digest = registry.put_manifest("gov/receipt", "1.0", data, OCI_MANIFEST)
    assert digest == digest_of(data) == registry.resolve("gov/receipt", "1.0")
    found = registry.manifest("gov/receipt", digest)
    assert (found.data, found.media_type) == (data, OCI_MANIFEST)


@pytest.mark.contract("ArtifactStore.has", "ArtifactStore.fetch", "ArtifactStore.publish")
def test_an_archive_is_published_and_found(tmp_path):
    kept = {}

    def respond(request):
        if request.command == "PUT":
            kept[request.path] = request.sent
            return 201, {}, b""
        found = kept.get(request.path)
        return (200, {}, found) if found is not None else (404, {}, b"none")

    file = tmp_path / "archive.tar.gz"
    file.write_bytes(b"archive")
    with answering(handler(respond)) as host:
        store = ArtifactStore(Connection(f"http://{host}/archives"))
        assert (store.has("svc/a.tar.gz"), store.fetch("svc/a.tar.gz")) == (False, None)
        store.publish("svc/a.tar.gz", file)
        assert (store.has("svc/a.tar.gz"), store.fetch("svc/a.tar.gz")) == (True, b"archive")
        store.close()
    assert kept == {"/archives/svc/a.tar.gz": b"archive"}
