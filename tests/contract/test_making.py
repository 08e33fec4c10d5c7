"""What lies beside an image in a real registry, and the chain that is read from it; cosign reads and writes both."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from hms_nomad.build.attached import Attached, attach_text
from hms_nomad.build.context import EPOCH
from hms_nomad.build.errors import KeyFileError, SigningError
from hms_nomad.build.image import from_saved
from hms_nomad.build.push import push_image
from hms_nomad.build.referrers import attach_document, documents
from hms_nomad.build.signatures import attach, signatures
from hms_nomad.build.statements import statements
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.nomad_types import Job
from hms_nomad.clients.oci import OCI_MANIFEST, RegistryClient, digest_of
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.platform.model import Platform
from hms_nomad.spec.image import parse_image
from hms_nomad.workflows.building import provenance as chain
from hms_nomad.workflows.building import sbom
from hms_nomad.workflows.building.making import Making, known_evidence, seal
from hms_nomad.workflows.building.signatures import read_public_keys, read_signing_key
from hms_nomad.workflows.revision import Revision
from hms_nomad.workflows.session import Session
from tests.binaries import binary
from tests.registry_server import image_registry
from tests.signed_images import key_pair
from tests.unit.specs import spec

COMMIT = "c" * 40
NODE = b'{"name":"left-pad","version":"1.3.0","license":"WTFPL"}'
VERIFIED, UNVERIFIED, MISMATCH = chain.LinkState.VERIFIED, chain.LinkState.UNVERIFIED, chain.LinkState.MISMATCH


def saved(folder):
    """An archive as an engine saves it, of an image with one package."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("app/node_modules/left-pad/package.json")
        entry.size = len(NODE)
        tar.addfile(entry, io.BytesIO(NODE))
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["NODE_VERSION=24.1.0"]}}
    row = {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l.tar"]}
    files = {
        "c.json": json.dumps(config).encode(),
        "l.tar": layer.getvalue(),
        "manifest.json": json.dumps([row]).encode(),
    }
    file = folder / "saved.tar"
    with tarfile.open(file, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file


@pytest.fixture
def world(tmp_path):
    """A registry, and a way to push a sealed image to it and to ask where it comes from."""
    good, other = key_pair(tmp_path, "good"), key_pair(tmp_path, "other")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    image = from_saved(saved(tmp_path), blobs, EPOCH, {"org.opencontainers.image.revision": COMMIT})
    with image_registry(tmp_path / "registry") as host:
        client = RegistryClient(Connection(f"http://{host}"))
        making = Making(
            spec(), Revision(COMMIT, EPOCH, False, "https://git.gov/receipt"), "b" * 64, "docker 20.10", 1.0
        )

        def push(key=None, making=making):
            found = []

            def beside(digest):
                reference = parse_image(f"{host}/receipt:1.0")
                key_read = read_signing_key(str(key)) if key else None
                found.append(seal(client, reference, digest, [image], making, key_read, 2.0, lambda _: None))
                assert client.resolve("receipt", "1.0") is None or pushed, "tags are moved last"

            pushed = client.resolve("receipt", "1.0")
            digest = push_image(client, "receipt", [("linux/amd64", image)], ["1.0"], {}, lambda _: None, beside)
            return parse_image(f"{host}/receipt").pinned(digest), found[0]

        yield SimpleNamespace(push=push, client=client, good=good, other=other, host=host, making=making)
        client.close()


def asked(world, monkeypatch, pin, evidence, keys=(), runs=None, images=None):
    """The states of the links of what runs, by their names."""
    body = {"Type": "service", "TaskGroups": [{"Tasks": [{"Name": "app", "Config": {"image": runs or pin}}]}]}
    job = Job("receipt-svc", "receipt-svc", "default", "service", "running", False, 3, 7, True, {}, body)
    kept = {"receipt:1.0": pin} if images is None else images
    author = SimpleNamespace(who="ann@desk")
    release = SimpleNamespace(
        number=4, version="1.0.0", author=author, started=9.0, digest="d", job_version=3, images=kept, evidence=evidence
    )
    remembered = SimpleNamespace(releases=(release,), current=4)
    monkeypatch.setattr(chain, "history", lambda session, name: remembered)
    monkeypatch.setattr(sbom, "history", lambda session, name: remembered)
    living = SimpleNamespace(value=(SimpleNamespace(job_version=3, done=False),) * 2)
    nomad = SimpleNamespace(job_versions=lambda name: (job,), job_allocations=lambda name: living, address="http://n")
    session = Session(Platform(), nomad, SimpleNamespace(address="http://c"), None, 0.0, RetryBudget())
    (found,) = chain.provenance(session, "receipt-svc", read_public_keys([key.with_suffix(".pub") for key in keys]))
    assert found.instances == 2
    return session, {link.name: link.state for link in found.links}, found


@pytest.mark.contract("RegistryClient.referrers")
def test_a_document_that_refers_to_an_image_is_found_again(world):
    pin, _ = world.push()
    digest = parse_image(pin).digest
    kind = "application/vnd.gov.note"
    for text in (b"one", b"two", b"one"):
        attach_document(world.client, "receipt", digest, kind, text, {})
    assert documents(world.client, "receipt", digest, kind) == (b"one", b"two")
    listed = world.client.referrers("receipt", digest)
    assert listed is None or len(listed) >= 2, "this registry keeps a list of its own only from version 3 on"
    with pytest.raises(NotFoundError, match="it has no such"):
        attach_document(world.client, "receipt", "sha256:" + "0" * 64, kind, b"x", {})


def test_the_whole_chain_holds_for_what_was_built_and_signed(world, monkeypatch):
    pin, evidence = world.push(world.good)
    assert evidence.commit == COMMIT
    again, same = world.push(world.good)
    assert (again, same) == (pin, evidence), "built again, nothing is stated twice"
    session, states, found = asked(world, monkeypatch, pin, {pin: evidence}, [world.good])
    assert set(states.values()) == {VERIFIED}
    assert list(states) == ["release", "job", "image", "signature", "statement", "packages", "commit"]
    assert found.links[-1].text == f"{COMMIT} of https://git.gov/receipt"
    bill = sbom.bill_of_service(session, "receipt-svc")
    assert [(one.kind, one.name, one.version) for one in bill.packages] == [
        ("generic", "node", "24.1.0"),
        ("npm", "left-pad", "1.3.0"),
    ]
    assert bill.digest == evidence.bill
    with pytest.raises(NotFoundError, match="there is no release 9 of receipt-svc"):
        sbom.bill_of_service(session, "receipt-svc", 9)
    read = known_evidence(world.client, parse_image(pin), read_public_keys([world.good.with_suffix(".pub")]))
    assert read == evidence


def test_what_nobody_signed_is_not_verified_and_no_error(world, monkeypatch):
    pin, evidence = world.push()
    _, states, _ = asked(world, monkeypatch, pin, {pin: evidence}, [world.good])
    assert states == {
        "release": VERIFIED,
        "job": VERIFIED,
        "image": VERIFIED,
        "signature": UNVERIFIED,
        "statement": UNVERIFIED,
        "packages": VERIFIED,
        "commit": UNVERIFIED,
    }
    _, states, _ = asked(world, monkeypatch, pin, {})
    assert states["packages"] is UNVERIFIED
    _, states, _ = asked(world, monkeypatch, "sha256:" + "1" * 64, {}, images={})
    assert states == {"release": VERIFIED, "job": UNVERIFIED, "image": UNVERIFIED}


def test_each_contradiction_is_a_mismatch(world, monkeypatch):
    pin, evidence = world.push(world.good)
    digest = parse_image(pin).digest
    _, states, _ = asked(world, monkeypatch, pin, {pin: evidence}, [world.other])
    assert (states["signature"], states["statement"]) == (MISMATCH, MISMATCH)
    _, states, _ = asked(world, monkeypatch, pin, {pin: evidence})
    assert (states["signature"], states["statement"]) == (UNVERIFIED, UNVERIFIED), "without a key nothing is judged"
    other = f"{world.host}/receipt@sha256:" + "2" * 64
    _, states, found = asked(world, monkeypatch, pin, {pin: evidence}, [world.good], runs=other)
    assert (states["job"], found.state) == (MISMATCH, MISMATCH)
    swapped = replace(evidence, bill="sha256:" + "3" * 64)
    _, states, _ = asked(world, monkeypatch, pin, {pin: swapped}, [world.good])
    assert states["packages"] is MISMATCH
    # A statement of another commit, signed by a trusted key and kept by the release.
    wrong = replace(world.making, revision=Revision("f" * 40, EPOCH))
    _, lying = world.push(world.good, wrong)
    _, states, _ = asked(world, monkeypatch, pin, {pin: lying}, [world.good])
    assert states["commit"] is MISMATCH
    # Statements that are gone.
    empty = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": []}
    world.client.put_manifest("receipt", f"{digest.replace(':', '-')}.att", json.dumps(body).encode(), OCI_MANIFEST)
    _, states, _ = asked(world, monkeypatch, pin, {pin: evidence}, [world.good])
    assert states["statement"] is MISMATCH


def test_a_statement_of_another_image_does_not_count_for_this_one(world, monkeypatch):
    pin, evidence = world.push(world.good)
    keys = read_public_keys([world.good.with_suffix(".pub")])
    (own,) = statements(world.client, "receipt", parse_image(pin).digest, keys).trusted
    other = json.dumps({**world.client.manifest("receipt", "1.0").body, "annotations": {"other": "yes"}}).encode()
    digest = world.client.put_manifest("receipt", "2.0", other, OCI_MANIFEST)
    kept = world.client.manifest("receipt", f"{parse_image(pin).digest.replace(':', '-')}.att").body["layers"][0]
    envelope = world.client.blob("receipt", kept["digest"])
    assert digest_of(envelope) == own.digest == evidence.statement
    attach_text(world.client, "receipt", digest, ".att", Attached(kept["mediaType"], kept["annotations"], envelope))
    found = statements(world.client, "receipt", digest, keys)
    assert (found.trusted, found.count) == ((), 1)


@pytest.fixture
def cosign(tmp_path):
    """Runs cosign with a key pair of its own, and lets it reach nothing but this machine."""
    program = binary("cosign")
    quiet = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    quiet["COSIGN_PASSWORD"] = "canary-of-cosign"

    def run(*words):
        done = subprocess.run(
            [program, *words], cwd=tmp_path, env=quiet, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("generate-key-pair")
    return run


def test_cosign_verifies_what_we_signed_and_we_what_cosign_signed(world, cosign, tmp_path, monkeypatch):
    pin, evidence = world.push(world.good)
    key = ["--key", str(world.good.with_suffix(".pub")), "--insecure-ignore-tlog=true"]
    (claim,) = json.loads(cosign("verify", *key, pin))
    assert claim["critical"]["image"]["docker-manifest-digest"] == parse_image(pin).digest
    cosign("verify-attestation", "--type", "slsaprovenance1", *key, pin)
    own = tmp_path / "cosign.key"
    cosign("sign", "--key", str(own), "--tlog-upload=false", "--yes", pin)
    keys = read_public_keys([own.with_suffix(".pub")])
    assert signatures(world.client, "receipt", parse_image(pin).digest, keys).by is not None
    _, states, _ = asked(world, monkeypatch, pin, {pin: evidence}, [world.good, own])
    assert set(states.values()) == {VERIFIED}


def test_a_key_of_cosigns_signs_through_cosign(world, cosign, tmp_path, monkeypatch):
    own = tmp_path / "cosign.key"
    monkeypatch.setenv("COSIGN_PASSWORD", "canary-of-cosign")
    pin, evidence = world.push(own)
    _, states, _ = asked(world, monkeypatch, pin, {pin: evidence}, [own])
    assert set(states.values()) == {VERIFIED}
    key = ["--key", str(own.with_suffix(".pub")), "--insecure-ignore-tlog=true"]
    cosign("verify", *key, pin)
    cosign("verify-attestation", "--type", "slsaprovenance1", *key, pin)
    signer = read_signing_key(str(own))
    monkeypatch.setenv("COSIGN_PASSWORD", "canary-of-another")
    with pytest.raises(SigningError, match=r"cosign cannot use the key .*decryption failed") as caught:
        attach(world.client, "receipt", "receipt", "sha256:" + "0" * 64, signer)
    assert "canary" not in str(caught.value)
    with pytest.raises(KeyFileError, match="decryption failed"):
        read_signing_key(str(own))


def test_without_cosign_its_keys_are_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "cosign.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    for reference in (str(tmp_path / "cosign.key"), "hashivault://release"):
        with pytest.raises(KeyFileError, match="no cosign is on PATH; a key in plain PEM needs none"):
            read_signing_key(reference)
