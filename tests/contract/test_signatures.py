"""Signatures in a real registry: only an image signed by a trusted key passes the rule, before anything is written."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hms_nomad.build.errors import KeyFileError
from hms_nomad.build.signatures import signature_tag
from hms_nomad.build.signing import holds, payload_of, private_key, public_key
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient, digest_of
from hms_nomad.output.faults import classify
from hms_nomad.plan.rules import DeployDeniedError
from hms_nomad.workflows.building.signatures import read_signing_key
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.specs import SpecFile
from tests.registry_server import image_registry
from tests.signed_images import EMPTY_CONFIG, key_pair, push_smallest, registry_session, trusting
from tests.unit.specs import spec

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def world(tmp_path):
    """A registry with one image, a rule that trusts one key, and a session of which Nomad only has a leader."""
    good, other = key_pair(tmp_path, "good"), key_pair(tmp_path, "other")
    with image_registry(tmp_path / "registry") as host:
        client = RegistryClient(Connection(f"http://{host}"))
        digest = push_smallest(client, tmp_path, "receipt", "1.0")
        session = registry_session(host, trusting(tmp_path, "good"))
        files = (SpecFile("receipt.hms.yml", spec(image=f"{host}/receipt:1.0")),)

        def go(key=None):
            return prepare(session, files, lambda event: None, build=False, key=key and read_signing_key(str(key)))

        yield SimpleNamespace(go=go, good=good, other=other, client=client, digest=digest, host=host)
        client.close()


def test_only_what_a_trusted_key_signed_may_go_on(world):
    with pytest.raises(DeployDeniedError, match=r"rule signed .* is not signed by good\.pub") as caught:
        world.go()
    assert (classify(caught.value).exit_code, classify(caught.value).code) == (8, "denied-by-rule")
    with pytest.raises(DeployDeniedError, match=r"is not signed by good\.pub"):
        world.go(world.other)
    ready = world.go(world.good)
    assert ready.session.pins == {f"{world.host}/receipt:1.0": f"{world.host}/receipt@{world.digest}"}
    assert world.go().session.pins == ready.session.pins
    kept = world.client.manifest("receipt", signature_tag(world.digest)).body
    assert len(kept["layers"]) == 2, "another's signature stays beside ours"
    world.go(world.good)
    assert len(world.client.manifest("receipt", signature_tag(world.digest)).body["layers"]) == 2


def test_a_signature_of_another_image_or_a_changed_one_does_not_count(world, tmp_path):
    key = read_signing_key(str(world.good))
    payload = payload_of("receipt", DIGEST)
    blob = tmp_path / "payload"
    for signature, text in ((key.sign(payload), payload), (base64.b64encode(b"nonsense").decode(), payload)):
        blob.write_bytes(text)
        world.client.push_blob("receipt", digest_of(text), blob)
        row = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest_of(text)}
        row |= {"size": len(text), "annotations": {"dev.cosignproject.cosign/signature": signature}}
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY_CONFIG, "layers": [row]}
        data = json.dumps(body).encode()
        world.client.put_manifest("receipt", signature_tag(world.digest), data, OCI_MANIFEST)
        with pytest.raises(DeployDeniedError, match="is not signed by"):
            world.go()


def test_a_signed_image_whose_tag_moved_to_other_bytes_is_refused(world):
    world.go(world.good)
    other = json.dumps({**world.client.manifest("receipt", "1.0").body, "annotations": {"moved": "yes"}}).encode()
    world.client.put_manifest("receipt", "1.0", other, OCI_MANIFEST)
    with pytest.raises(DeployDeniedError, match=digest_of(other)):
        world.go()


def test_a_signature_holds_for_its_text_its_digest_and_its_key(tmp_path):
    key = read_signing_key(str(key_pair(tmp_path, "one")))
    other = read_signing_key(str(key_pair(tmp_path, "two")))
    payload = payload_of("registry.gov/receipt", DIGEST)
    signature = key.sign(payload)
    assert holds(payload, signature, DIGEST, key.public)
    assert not holds(payload, signature, DIGEST, other.public)
    assert not holds(payload + b" ", signature, DIGEST, key.public)
    assert not holds(payload, signature, "sha256:" + "b" * 64, key.public)
    assert not holds(payload, "no base64", DIGEST, key.public)
    assert public_key((tmp_path / "one.pub").read_bytes(), "one.pub").fingerprint == key.public.fingerprint


def test_keys_that_cannot_be_used_are_named_and_not_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    locked = key_pair(tmp_path, "locked", b"canary-of-the-key")
    with pytest.raises(KeyFileError, match="needs its password in COSIGN_PASSWORD"):
        read_signing_key(str(locked))
    monkeypatch.setenv("COSIGN_PASSWORD", "canary-of-another")
    with pytest.raises(KeyFileError, match="its password is another one") as caught:
        read_signing_key(str(locked))
    assert "canary" not in str(caught.value)
    monkeypatch.setenv("COSIGN_PASSWORD", "canary-of-the-key")
    assert "canary" not in repr(read_signing_key(str(locked)))
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_signing_key(str(tmp_path / "none"))
    with pytest.raises(KeyFileError, match="holds no private key"):
        private_key(b"nothing", "x", None)
    with pytest.raises(KeyFileError, match="holds no public key"):
        public_key(b"nothing", "x")
    large = ec.generate_private_key(ec.SECP384R1())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    with pytest.raises(KeyFileError, match="P-256"):
        private_key(large.private_bytes(pem, form, serialization.NoEncryption()), "x", None)
