"""Secrets, policies, mounts and the state of a real Vault (or OpenBao)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.errors import ConflictError, DeniedError, InvalidRequestError, UnavailableError
from hms_nomad.clients.vault import VaultClient
from hms_nomad.clients.vault_operator import VaultOperator
from tests.contract.vault_server import Vault

POLICY = 'path "secret/data/tax/*" { capabilities = ["read"] }\n'


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    client = vault.client()
    yield client
    client.close()


@pytest.mark.contract("VaultClient.kv_write", "VaultClient.kv_read")
def test_a_secret_is_created_once_and_changed_only_with_its_version(client: VaultClient) -> None:
    assert client.kv_read("secret", "tax/web") is None
    assert client.kv_write("secret", "tax/web", {"password": "one", "port": 5432}, version=0) == 1
    with pytest.raises(ConflictError):
        client.kv_write("secret", "tax/web", {"password": "two"}, version=0)

    assert client.kv_write("secret", "tax/web", {"password": "two"}, version=1) == 2
    with pytest.raises(ConflictError):
        client.kv_write("secret", "tax/web", {"password": "three"}, version=1)

    secret = client.kv_read("secret", "tax/web")
    assert secret is not None
    assert (secret.data, secret.version) == ({"password": "two"}, 2)
    assert "two" not in repr(secret)


@pytest.mark.contract("VaultClient.kv_read", "VaultClient.kv_write", "VaultClient.delete")
def test_a_deleted_secret_is_none_and_its_versions_go_on(client: VaultClient) -> None:
    client.kv_write("secret", "deleted", {"a": "b"}, version=0)
    client.delete("secret/data/deleted")

    assert client.kv_read("secret", "deleted") is None
    with pytest.raises(ConflictError):
        client.kv_write("secret", "deleted", {"a": "c"}, version=0)
    assert client.kv_write("secret", "deleted", {"a": "c"}, version=1) == 2


@pytest.mark.contract("VaultClient.kv_read")
def test_a_mount_that_is_not_there_holds_no_secret(client: VaultClient) -> None:
    assert client.kv_read("no-such-mount", "web") is None


@pytest.mark.contract("VaultClient.read", "VaultClient.write", "VaultClient.delete")
def test_any_path_is_written_read_and_deleted(client: VaultClient) -> None:
    path = "secret/metadata/any"

    assert client.read(path) is None
    assert client.write("secret/data/any", {"data": {"a": "b"}})["version"] == 1
    assert client.write(path, {"max_versions": 3}) == {}
    found = client.read(path)
    assert found is not None
    assert found["max_versions"] == 3
    client.delete(path)
    client.delete(path)
    assert client.read(path) is None
    with pytest.raises(InvalidRequestError):
        client.write(path, {"max_versions": "many"})


@pytest.mark.contract("VaultClient.read_policy", "VaultClient.write_policy", "VaultClient.delete_policy")
def test_a_policy_comes_and_goes(client: VaultClient) -> None:
    assert client.read_policy("tax") is None
    client.write_policy("tax", POLICY)
    assert client.read_policy("tax") == POLICY
    with pytest.raises(InvalidRequestError):
        client.write_policy("tax", 'path "x" {')
    client.delete_policy("tax")
    client.delete_policy("tax")
    assert client.read_policy("tax") is None


@pytest.mark.contract("VaultClient.enable_secrets", "VaultClient.enable_auth")
def test_engines_and_methods_are_mounted_once(client: VaultClient) -> None:
    client.enable_secrets("kv-of-tax", "kv-v2", {"max_lease_ttl": "1h"})
    client.enable_auth("jwt-of-nomad", "jwt")

    assert client.kv_write("kv-of-tax", "web", {"a": "b"}, version=0) == 1
    assert client.read("sys/auth/jwt-of-nomad/tune") is not None
    with pytest.raises(ConflictError):
        client.enable_secrets("kv-of-tax", "kv-v2")
    with pytest.raises(ConflictError):
        client.enable_auth("jwt-of-nomad", "jwt")
    with pytest.raises(InvalidRequestError):
        client.enable_secrets("elsewhere", "no-such-engine")


@pytest.mark.contract("VaultClient.health")
def test_an_unsealed_server_says_so_without_a_token(vault: Vault) -> None:
    health = VaultClient(Connection(vault.address)).health()

    assert (health.initialized, health.sealed, health.standby) == (True, False, False)
    assert health.version.count(".") >= 2


@pytest.mark.contract("VaultClient.health")
def test_a_sealed_server_says_so_and_refuses_the_rest(own_vault: Vault) -> None:
    client = own_vault.client(retry_seconds=0.0)
    own_vault.http("PUT", "sys/seal")

    assert client.health().sealed
    with pytest.raises(UnavailableError, match=r"(?i)sealed") as refusal:
        client.kv_read("secret", "web")
    assert refusal.value.transient
    with pytest.raises(UnavailableError, match=r"(?i)sealed"):
        client.kv_write("secret", "web", {}, version=0)


@pytest.mark.contract("VaultOperator.initialize", "VaultOperator.unseal", "VaultClient.create_token")
def test_a_new_server_is_made_ready(fresh_vault: Vault) -> None:
    operator = VaultOperator(Connection(fresh_vault.address))
    assert not operator.health().initialized

    keys = operator.initialize(shares=3, threshold=2)

    assert len(keys.unseal_keys) == 3
    assert keys.root_token not in repr(keys)
    assert operator.health().sealed
    with pytest.raises(ConflictError):
        operator.initialize()
    assert not operator.unseal(keys.unseal_keys[:1])
    assert operator.unseal(keys.unseal_keys[1:])
    assert not operator.health().sealed
    owner = VaultOperator(Connection(fresh_vault.address, token=keys.root_token))
    owner.write_policy("reader", 'path "auth/token/lookup-self" { capabilities = ["read"] }')
    token = owner.create_token(["reader"], period_seconds=60)
    lookup = VaultClient(Connection(fresh_vault.address, token=token)).read("auth/token/lookup-self")
    assert lookup is not None
    assert (sorted(lookup["policies"]), lookup["period"], lookup["orphan"]) == (["reader"], 60, True)


@pytest.mark.contract("VaultClient.list_keys")
def test_the_names_below_a_path_are_listed(client: VaultClient) -> None:
    client.kv_write("secret", "listed/one", {"a": "b"}, version=0)
    client.kv_write("secret", "listed/below/two", {"a": "b"}, version=0)

    assert set(client.list_keys("secret/metadata/listed")) == {"one", "below/"}
    assert client.list_keys("secret/metadata/no-such") == ()


@pytest.mark.contract("VaultClient.kv_read", "VaultClient.kv_write")
def test_a_token_reaches_what_its_policy_says_and_no_more(vault: Vault, client: VaultClient) -> None:
    client.write_policy("reader", POLICY)
    client.kv_write("secret", "tax/shown", {"a": "b"}, version=0)
    client.kv_write("secret", "other/hidden", {"a": "b"}, version=0)
    made = vault.http("POST", "auth/token/create", {"policies": ["reader"]})
    reader = vault.client(made["auth"]["client_token"])

    shown = reader.kv_read("secret", "tax/shown")
    assert shown is not None
    assert shown.data == {"a": "b"}
    with pytest.raises(DeniedError):
        reader.kv_read("secret", "other/hidden")
    with pytest.raises(DeniedError):
        reader.kv_write("secret", "tax/shown", {}, version=1)


@pytest.mark.contract("VaultClient.read", "VaultClient.kv_read")
@pytest.mark.parametrize("path", ["", "../sys/seal", "a//b", "a?list=true", "a#b", "a%2Fb", "/a", "a/"])
def test_a_path_that_means_another_one_is_refused(client: VaultClient, path: str) -> None:
    with pytest.raises(InvalidRequestError):
        client.read(path)
    with pytest.raises(InvalidRequestError):
        client.kv_read("secret", path)
    with pytest.raises(InvalidRequestError):
        client.kv_read(path, "web")
