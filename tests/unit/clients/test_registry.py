"""A registry in trouble is named in one clear error, and credentials are shown nowhere."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime

import pytest

from hms_nomad.clients.artifacts import S3Keys, signed_headers
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.credentials import Credentials, docker_credentials
from hms_nomad.clients.errors import DeniedError, InvalidRequestError, UnavailableError
from hms_nomad.clients.oci import RegistryClient
from tests.registry_server import answering, handler

CANARY = "canary-of-the-registry"
BODY = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()


def client_of(host, credentials=None):
    return RegistryClient(Connection(f"http://{host}", retry_seconds=0), credentials)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (429, b"too many requests", UnavailableError, "too many requests"),
        (
            500,
            b'{"errors":[{"code":"UNKNOWN","message":"no space left on device"}]}',
            UnavailableError,
            "no space left",
        ),
        (503, b"down", UnavailableError, "down"),
        (403, b"no", DeniedError, "no"),
    ],
)
def test_a_registry_in_trouble_is_named(status, body, kind, words):
    with answering(handler(lambda request: (status, {}, body))) as host:
        client = client_of(host)
        with pytest.raises(kind, match=words) as caught:
            client.resolve("gov/receipt", "1.0")
        client.close()
    assert f"registry at http://{host}: cannot read the manifest of gov/receipt:1.0" in str(caught.value)


def test_a_registry_that_is_away_is_named():
    with pytest.raises(UnavailableError, match=r"registry at http://127\.0\.0\.1:9: cannot .*: no connection"):
        client_of("127.0.0.1:9").resolve("gov/receipt", "1.0")


def test_bytes_that_are_not_those_of_the_digest_are_refused():
    with answering(handler(lambda request: (200, {}, BODY))) as host:
        client = client_of(host)
        with pytest.raises(InvalidRequestError, match="it was changed on the way"):
            client.manifest("gov/receipt", "sha256:" + "0" * 64)
        with pytest.raises(InvalidRequestError, match="they were changed on the way"):
            client.blob("gov/receipt", "sha256:" + "0" * 64)
        client.close()


def test_a_token_is_fetched_for_the_credentials_and_used():
    seen = []

    def respond(request):
        seen.append((request.path.partition("?")[0], request.headers.get("Authorization")))
        if request.path.startswith("/token"):
            wanted = "Basic " + base64.b64encode(f"ann:{CANARY}".encode()).decode()
            return (200, {}, b'{"token":"t1"}') if request.headers.get("Authorization") == wanted else (401, {}, b"no")
        if request.headers.get("Authorization") != "Bearer t1":
            realm = f'Bearer realm="http://{request.headers["Host"]}/token",service="reg"'
            return 401, {"WWW-Authenticate": realm}, b"{}"
        return 200, {}, BODY

    with answering(handler(respond)) as host:
        good, bad = client_of(host, Credentials("ann", CANARY)), client_of(host, Credentials("ann", CANARY + "x"))
        assert good.resolve("gov/receipt", "1.0")
        with pytest.raises(DeniedError, match=f"docker login {host}") as caught:
            bad.resolve("gov/receipt", "1.0")
        with pytest.raises(DeniedError):
            client_of(host).resolve("gov/receipt", "1.0")
        good.close()
        bad.close()
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(Credentials("ann", CANARY))
    assert ("/v2/gov/receipt/manifests/1.0", "Bearer t1") in seen


def test_what_a_registry_repeats_of_our_password_is_hidden():
    def respond(request):
        if not request.headers.get("Authorization"):
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return 400, {}, f"bad header {request.headers['Authorization']} of {CANARY}".encode()

    with answering(handler(respond)) as host:
        client = client_of(host, Credentials("ann", CANARY))
        with pytest.raises(InvalidRequestError) as caught:
            client.resolve("gov/receipt", "1.0")
        client.close()
    encoded = base64.b64encode(f"ann:{CANARY}".encode()).decode()
    assert CANARY not in str(caught.value)
    assert encoded not in str(caught.value)


def test_docker_config_and_helpers(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert docker_credentials("reg.gov") is None
    auth = base64.b64encode(b"ann:pw:1").decode()
    body = {"auths": {"reg.gov": {"auth": auth}}, "credHelpers": {"other.gov": "canary"}}
    (tmp_path / "config.json").write_text(json.dumps(body), encoding="utf-8")
    assert docker_credentials("reg.gov") == Credentials("ann", "pw:1")
    with pytest.raises(InvalidRequestError, match="docker-credential-canary is not on PATH"):
        docker_credentials("other.gov")
    helper = tmp_path / "docker-credential-canary"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\":\\"$host-$1-$#\\",\\"Secret\\":\\"s\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert docker_credentials("other.gov") == Credentials("other.gov-get-1", "s")


def test_requests_to_a_bucket_are_signed_as_amazon_documents_it():
    keys = S3Keys("us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    moment = datetime(2013, 5, 24, tzinfo=UTC)
    headers = signed_headers("GET", "https://examplebucket.s3.amazonaws.com/test.txt", empty, keys, moment)
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["Authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
    )
    assert keys.secret_key not in str(headers) + repr(keys)
