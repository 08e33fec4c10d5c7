"""A gateway that speaks TLS with Vault's certificates, on a port below 1024, and takes no more than its limit."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import json
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hms_nomad.clients.errors import ConflictError
from hms_nomad.sections.section import as_data
from hms_nomad.workflows.session import Session
from tests.live.conftest import Cli, LiveStack
from tests.live.mesh.test_mesh import body_of, deploy

NAME = "tls-gateway"
HOST = "api.agency.test"
KEY = b"0123456789abcdef0123456789abcdef"
ISSUER = "https://idp.test"
ROUTES = [
    {"path": "/open", "methods": ["GET"], "match": "exact", "public": True, "limit": "2/s"},
    {
        "path": "/v1",
        "methods": ["GET"],
        "public": True,
        "rewrite": "/files",
        "headers": {"response": {"set": {"x-api": "v1"}}},
    },
]


@pytest.fixture(scope="module")
def authority(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PKI in Vault, and the way in for the gateway's job; the file of the root certificate."""
    vault = session.vault
    if vault is None:
        pytest.skip("this stack has no Vault")
    with contextlib.suppress(ConflictError):
        vault.enable_auth("jwt-nomad", "jwt")
    vault.write("auth/jwt-nomad/config", {"jwks_url": f"{session.platform.nomad.address}/.well-known/jwks.json"})
    vault.enable_secrets("front-pki", "pki")
    root = vault.write("front-pki/root/generate/internal", {"common_name": "agency", "ttl": "1h"})
    vault.write("front-pki/roles/front", {"allow_any_name": True, "no_store": True})
    vault.write_policy(NAME, 'path "front-pki/issue/front" { capabilities = ["create", "update"] }')
    role = {
        "role_type": "jwt",
        "bound_audiences": ["vault.io"],
        "user_claim": "/nomad_job_id",
        "user_claim_json_pointer": True,
        "bound_claims": {"nomad_job_id": NAME},
        "token_policies": [NAME],
        "token_period": "30m",
    }
    vault.write(f"auth/jwt-nomad/role/{NAME}", role)
    file = tmp_path_factory.mktemp("authority") / "root.pem"
    file.write_text(str(root["certificate"]))
    return file


@pytest.fixture(scope="module")
def secured(stack: LiveStack, cli: Cli, authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service behind such a gateway; the gateway's host."""
    context = as_data(stack.platform, defaults=False)
    tls = {"names": [HOST], "issuer": "front-pki/issue/front", "ttl": "30s", "vault_role": NAME}
    keys = json.dumps({"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": packed(KEY)}]})
    providers = [{"name": "agency", "issuer": ISSUER, "jwks": keys}]
    tls["ca_file"] = str(authority)
    context["gateway"] = {"name": NAME, "port": 443, "limit": "100/s", "tls": tls, "jwt": providers}
    (stack.config_dir / "contexts" / "secured.yml").write_text(yaml.safe_dump(context))

    def secure_cli(*words: str | Path) -> object:
        return cli(*words, HMS_NOMAD_CONTEXT="secured")

    ran = cli("platform", "install", "gateway", HMS_NOMAD_CONTEXT="secured")
    assert ran.exit_code == 0, ran.stderr
    name = deploy(secure_cli, tmp_path_factory.mktemp("specs"), f"tls-{uuid.uuid4().hex[:8]}", ROUTES, gateway=WAY_IN)
    url = body_of(cli("gateway", "routes", "-o", "json", HMS_NOMAD_CONTEXT="secured"))["routes"][0]["url"]
    assert url.startswith(f"https://{HOST}/")
    state = body_of(cli("gateway", "status", "-o", "json", HMS_NOMAD_CONTEXT="secured"))["gateway"]
    yield state["url"].removeprefix("https://").partition(":")[0]
    secure_cli("stop", name, "--purge", "--yes")
    assert cli("platform", "remove", "gateway", "--force", HMS_NOMAD_CONTEXT="secured").exit_code == 0


WAY_IN = {"hosts": [HOST], "jwt": {"provider": "agency", "claims": {"role": "auditor"}}}


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims: object) -> dict[str, str]:
    """The header of a request with a token of the agency."""
    parts = ({"alg": "HS256", "kid": "k"}, {"iss": ISSUER, "exp": 4_000_000_000, **claims})
    text = ".".join(packed(json.dumps(part).encode()) for part in parts)
    return {"Authorization": f"Bearer {text}.{packed(hmac.digest(KEY, text.encode(), 'sha256'))}"}


def asked(host: str, authority: Path, path: str, **headers: str) -> tuple[http.client.HTTPResponse, dict]:
    connection = connected(host, authority)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer, body


def connected(host: str, authority: Path) -> http.client.HTTPSConnection:
    """A connection on which the certificate was checked, to the gateway's name."""
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["http/1.1"])
    connection = http.client.HTTPSConnection(HOST, 443, timeout=10, context=context)
    connection.sock = context.wrap_socket(socket.create_connection((host, 443), 10), server_hostname=HOST)
    return connection


def serial(host: str, authority: Path) -> str:
    connection = connected(host, authority)
    try:
        return str(connection.sock.getpeercert()["serialNumber"])
    finally:
        connection.close()


def test_certificates_are_renewed_while_it_runs(secured: str, authority: Path, session: Session) -> None:
    first = serial(secured, authority)
    deadline = time.monotonic() + 60
    while serial(secured, authority) == first:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    (one,) = [each for each in session.nomad.job_allocations(NAME).value if not each.done]
    assert [task.restarts for task in one.tasks.values()] == [0]


def test_a_valid_token_with_the_right_claims_is_asked_for(secured: str, authority: Path) -> None:
    answer, body = asked(secured, authority, "/v1/a", **token(role="auditor"))
    assert (answer.status, body["path"], answer.getheader("x-api")) == (200, "/files/a", "v1")
    assert answer.getheader("x-request-id") == body["request_id"]
    for headers in ({}, token(role="guest"), {"Authorization": "Bearer nonsense"}):
        answer, body = asked(secured, authority, "/v1/a", **headers)
        assert (answer.status, body["status"]) == (401, 401)
        assert answer.getheader("www-authenticate") == 'Bearer realm="agency"'
    answer, _ = asked(secured, authority, "/v1/a", Host="other.test", **token(role="auditor"))
    assert answer.status == 404


def test_what_is_too_much_gets_429(secured: str, authority: Path) -> None:
    connection = connected(secured, authority)
    answers = []
    for _ in range(50):
        connection.request("GET", "/open", headers=token(role="auditor"))
        answer = connection.getresponse()
        answers.append((answer.status, answer.read()))
    connection.close()
    limited = [json.loads(body) for status, body in answers if status == 429]
    assert {status for status, _ in answers} == {200, 429}
    assert limited[0]["status"] == 429
    assert limited[0]["request_id"]
