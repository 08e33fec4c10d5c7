"""Logging in to real servers: by a signed identity, by a password, and in a browser."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from hms_nomad.clients.browser import redirect_of, wait_for_browser
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import DeniedError, InvalidRequestError
from hms_nomad.clients.nomad_acl import NomadPolicy
from hms_nomad.clients.vault_login import VaultLogin
from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad
from tests.contract.vault_server import Vault
from tests.processes import free_port

AUDIENCE = "hms-nomad"
_LATER = ThreadPoolExecutor(1)
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_KEY = (
    _KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode("ascii")
)


def signed(subject: str, key: rsa.RSAPrivateKey = _KEY) -> str:
    """A JWT that says who one is, for five minutes."""
    now = int(time.time())
    claims = {"sub": subject, "aud": AUDIENCE, "iat": now, "nbf": now - 5, "exp": now + 300}
    parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    text = ".".join(parts)
    return f"{text}.{_encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _stranger() -> str:
    return signed("jane", rsa.generate_private_key(public_exponent=65537, key_size=2048))


def anonymous(vault: Vault) -> VaultLogin:
    return VaultLogin(Connection(vault.address, insecure_http=vault.server is None))


@pytest.mark.contract("ConsulClient.login", "ConsulClient.logout")
def test_consul_gives_a_token_for_a_signed_identity_and_takes_it_back(strict_consul: Consul) -> None:
    admin = strict_consul.client()
    admin.write_acl("policy", {"Name": "of-logins", "Rules": 'operator = "read"'})
    config = {"JWTValidationPubKeys": [PUBLIC_KEY], "BoundAudiences": [AUDIENCE], "ClaimMappings": {"sub": "who"}}
    method = {"Name": "people", "Type": "jwt", "MaxTokenTTL": "10m", "Config": config}
    admin.write_acl("auth-method", method)
    rule = {"AuthMethod": "people", "Description": "", "BindType": "policy", "BindName": "of-logins", "Selector": ""}
    admin.write_binding_rule(rule)

    login = strict_consul.client("").login("people", signed("jane"))
    assert login.rights == ("of-logins",)
    assert 500 < login.seconds <= 600
    assert login.token not in repr(login)
    own = strict_consul.client(login.token)
    token = own.own_token()
    assert token is not None
    assert token.accessor_id == login.accessor
    own.logout()
    with pytest.raises(DeniedError):
        own.own_token()
    with pytest.raises(DeniedError):
        strict_consul.client("").login("people", _stranger())


@pytest.mark.contract("NomadClient.login")
def test_nomad_gives_a_token_for_a_signed_identity(strict_nomad: Nomad) -> None:
    strict_nomad.client().write_acl_policy(NomadPolicy("of-logins", "", 'node { policy = "read" }'))
    config = {"JWTValidationPubKeys": [PUBLIC_KEY], "BoundAudiences": [AUDIENCE], "ClaimMappings": {"sub": "who"}}
    _nomad_method(strict_nomad, "people", "JWT", config)

    login = strict_nomad.client("").login("people", signed("jane"))
    assert login.rights == ("of-logins",)
    assert 500 < login.seconds <= 600
    token = strict_nomad.client(login.token).own_token()
    assert token is not None
    assert (token.accessor_id, token.policies) == (login.accessor, ("of-logins",))
    with pytest.raises((DeniedError, InvalidRequestError)):
        strict_nomad.client("").login("people", _stranger())


@pytest.mark.contract("VaultLogin.login_jwt", "VaultLogin.login_userpass", "VaultLogin.logout")
def test_vault_gives_tokens_for_identities_and_passwords_and_takes_them_back(vault: Vault) -> None:
    name = f"people-{uuid.uuid4().hex[:6]}"
    vault.http("POST", f"sys/auth/{name}-jwt", {"type": "jwt"})
    vault.http("POST", f"auth/{name}-jwt/config", {"jwt_validation_pubkeys": [PUBLIC_KEY], "default_role": "one"})
    role = {"role_type": "jwt", "bound_audiences": [AUDIENCE], "user_claim": "sub", "token_policies": ["default"]}
    vault.http("POST", f"auth/{name}-jwt/role/one", role)
    vault.http("POST", f"sys/auth/{name}-pass", {"type": "userpass"})
    vault.http("POST", f"auth/{name}-pass/users/jane", {"password": "opensesame", "token_policies": ["default"]})

    client = anonymous(vault)
    by_role = client.login_jwt(f"{name}-jwt", "one", signed("jane"))
    by_password = client.login_userpass(f"{name}-pass", "jane", "opensesame")
    for login in (by_role, client.login_jwt(f"{name}-jwt", "", signed("jane")), by_password):
        own = VaultLogin(Connection(vault.address, token=login.token, insecure_http=vault.server is None))
        assert own.own_token().accessor == login.accessor
        assert login.rights == ("default",)
        assert login.seconds > 0
        own.logout()
        with pytest.raises(DeniedError):
            own.own_token()
    with pytest.raises((DeniedError, InvalidRequestError)) as refused:
        client.login_userpass(f"{name}-pass", "jane", "canary-of-a-password")
    assert "canary" not in str(refused.value)
    with pytest.raises((DeniedError, InvalidRequestError)):
        client.login_jwt(f"{name}-jwt", "one", _stranger())


@pytest.mark.contract("NomadClient.oidc_url", "NomadClient.login_oidc")
def test_nomad_gives_a_token_to_whoever_logged_in_in_a_browser(strict_nomad: Nomad, vault: Vault) -> None:
    port = free_port()
    provider = provided(vault, redirect_of(port))
    strict_nomad.client().write_acl_policy(NomadPolicy("of-logins", "", 'node { policy = "read" }'))
    method = f"browser-{uuid.uuid4().hex[:6]}"
    config = {
        "OIDCDiscoveryURL": provider.url,
        "OIDCClientID": provider.client_id,
        "OIDCClientSecret": provider.secret,
        "BoundAudiences": [provider.client_id],
        "AllowedRedirectURIs": [redirect_of(port)],
        "ClaimMappings": {"sub": "who"},
    }
    _nomad_method(strict_nomad, method, "OIDC", config)

    client = strict_nomad.client("")
    back = wait_for_browser(
        "nomad", port, lambda to: provider.browse(client.oidc_url(method, to, "a-nonce-of-ours")), 30.0
    )
    login = client.login_oidc(method, redirect_of(port), "a-nonce-of-ours", back.state, back.code)
    assert login.rights == ("of-logins",)
    assert strict_nomad.client(login.token).own_token() is not None


@pytest.mark.contract("VaultLogin.oidc_url", "VaultLogin.login_oidc")
def test_vault_gives_a_token_to_whoever_logged_in_in_a_browser(vault: Vault) -> None:
    port = free_port()
    provider = provided(vault, redirect_of(port))
    mount = f"browser-{uuid.uuid4().hex[:6]}"
    vault.http("POST", f"sys/auth/{mount}", {"type": "oidc"})
    config = {
        "oidc_discovery_url": provider.url,
        "oidc_client_id": provider.client_id,
        "oidc_client_secret": provider.secret,
        "default_role": "people",
    }
    vault.http("POST", f"auth/{mount}/config", config)
    role = {"user_claim": "sub", "allowed_redirect_uris": [redirect_of(port)], "token_policies": ["default"]}
    vault.http("POST", f"auth/{mount}/role/people", role)

    client = anonymous(vault)
    back = wait_for_browser(
        "vault", port, lambda to: provider.browse(client.oidc_url(mount, "", to, "a-nonce-of-ours")), 30.0
    )
    login = client.login_oidc(mount, back.state, back.code, "a-nonce-of-ours")
    assert login.rights == ("default",)
    with pytest.raises(InvalidRequestError):
        client.oidc_url(mount, "", "http://elsewhere.example/oidc/callback", "a-nonce-of-ours")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of identities, and a browser in which somebody is logged in to it."""

    url: str
    client_id: str
    secret: str
    browse: Callable[[str], None]


def provided(vault: Vault, redirect: str) -> Provider:
    """The provider of identities that is part of the server, with a client that may come back to ``redirect``."""
    name = f"ours-{uuid.uuid4().hex[:6]}"
    with contextlib.suppress(OSError):
        vault.http("POST", "sys/auth/userpass", {"type": "userpass"})
    path = "identity/oidc/provider/default/authorize"
    vault.http("PUT", "sys/policies/acl/says-who-one-is", {"policy": f'path "{path}" {{ capabilities = ["read"] }}'})
    user = {"password": "opensesame", "token_policies": ["says-who-one-is"]}
    vault.http("POST", f"auth/userpass/users/{name}", user)
    vault.http("POST", f"identity/oidc/client/{name}", {"redirect_uris": [redirect], "assignments": ["allow_all"]})
    client = vault.http("GET", f"identity/oidc/client/{name}")["data"]
    token = anonymous(vault).login_userpass("userpass", name, "opensesame").token

    def browse(page: str) -> None:
        """What a browser does there: say yes, and follow the way back."""
        asked = dict(parse_qsl(urlsplit(page).query))
        request = urllib.request.Request(
            f"{vault.address}/v1/{path}?{urlencode(asked)}", headers={"X-Vault-Token": token}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
        back = f"{asked['redirect_uri']}?{urlencode({'code': said['code'], 'state': said['state']})}"
        # The listener answers once the login waits for it.
        _LATER.submit(lambda: urllib.request.urlopen(back, timeout=20).read())

    return Provider(
        f"{vault.address}/v1/identity/oidc/provider/default", client["client_id"], client["client_secret"], browse
    )


def _nomad_method(nomad: Nomad, name: str, kind: str, config: dict[str, Any]) -> None:
    method = {"Name": name, "Type": kind, "TokenLocality": "local", "MaxTokenTTL": "10m", "Config": config}
    nomad.http("POST", "/v1/acl/auth-method", method)
    rule = {"AuthMethod": name, "Description": "", "BindType": "policy", "BindName": "of-logins", "Selector": ""}
    nomad.http("POST", "/v1/acl/binding-rule", rule)
