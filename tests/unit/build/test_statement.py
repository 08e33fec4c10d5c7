"""A statement says who built what from which commit, and only a trusted signature over just these bytes counts."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hms_nomad.build.signing import PrivateKey
from hms_nomad.build.statement import PREDICATE, Made, envelope_of, is_about, opened, provenance_of, statement_of

DIGEST = "sha256:" + "a" * 64
MADE = Made(
    name="registry.gov/receipt",
    digest=DIGEST,
    parameters={"service": "receipt-svc", "target": ""},
    sources="b" * 64,
    engine="docker 20.10",
    who="ann@build-1",
    host="build-1",
    started=1764043200.5,
    finished=1764043260.0,
    commit="c" * 40,
    source="https://git.gov/receipt",
    changed=True,
    bases={"python:3.13-slim": "sha256:" + "d" * 64},
    bill="sha256:" + "e" * 64,
    bill_type="application/vnd.cyclonedx+json",
)


def key(name="release.key"):
    return PrivateKey(name, ec.generate_private_key(ec.SECP256R1()))


def test_a_statement_is_in_totos_with_slsas_predicate():
    body = json.loads(statement_of(MADE))
    assert (body["_type"], body["predicateType"]) == ("https://in-toto.io/Statement/v1", PREDICATE)
    assert body["subject"] == [{"name": "registry.gov/receipt", "digest": {"sha256": "a" * 64}}]
    definition, run = body["predicate"]["buildDefinition"], body["predicate"]["runDetails"]
    assert definition["externalParameters"] == {"service": "receipt-svc", "target": ""}
    assert definition["resolvedDependencies"] == [
        {
            "uri": "git+https://git.gov/receipt",
            "digest": {"gitCommit": "c" * 40},
            "annotations": {"changed": True},
        },
        {"name": "sources", "digest": {"sha256": "b" * 64}},
        {"uri": "docker:python:3.13-slim", "digest": {"sha256": "d" * 64}},
    ]
    assert run["builder"]["id"] == "urn:hms-nomad:builder:build-1"
    assert run["metadata"] == {"startedOn": "2025-11-25T04:00:00Z", "finishedOn": "2025-11-25T04:01:00Z"}


def test_what_it_says_is_read_back():
    said = provenance_of(statement_of(MADE))
    assert (said.who, said.commit, said.source, said.changed) == ("ann@build-1", "c" * 40, MADE.source, True)
    assert (said.bill, said.finished, said.name) == (MADE.bill, "2025-11-25T04:01:00Z", "c" * 40 + "-changed")
    with pytest.raises(ValueError, match="says nothing"):
        provenance_of(b"{}")


def test_only_the_trusted_key_over_just_these_bytes_opens_an_envelope():
    own, other = key(), key("other.key")
    envelope = envelope_of(statement_of(MADE), own)
    assert opened(envelope, (other.public, own.public)) == (statement_of(MADE), own.public)
    assert opened(envelope, (other.public,)) is None
    body = json.loads(envelope)
    changed = statement_of(MADE).replace(b"ann@", b"eve@")
    forged = {**body, "payload": base64.b64encode(changed).decode()}
    for wrong in (forged, {**body, "payloadType": "text/plain"}, {**body, "signatures": []}, {}, []):
        assert opened(json.dumps(wrong).encode(), (own.public,)) is None
    assert opened(b"no json", (own.public,)) is None


def test_a_statement_about_another_image_is_none_of_this_one():
    statement = statement_of(MADE)
    assert is_about(statement, DIGEST)
    assert not is_about(statement, "sha256:" + "f" * 64)
    assert not is_about(statement.replace(b"slsa.dev/provenance/v1", b"slsa.dev/other/v1"), DIGEST)
    assert not is_about(b"[]", DIGEST)
