"""What a user is told when a real server has no leader, is frozen or gone, or refuses a token."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError, UnavailableError, UnknownOutcomeError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.vault import VaultClient
from tests.contract.consul_server import Consul
from tests.contract.jobs import Jobs
from tests.contract.nomad_server import Nomad, job
from tests.contract.vault_server import Vault
from tests.processes import free_port

CANARY = "f00dfeed-0bad-4bad-8bad-c0ffee15bad0"
BRIEF = {"connect_timeout": 0.5, "read_timeout": 0.5, "retry_seconds": 0.0}


@pytest.mark.contract("NomadClient.leader", "NomadClient.register_job", "NomadClient.read_job")
def test_a_nomad_without_a_leader_takes_nothing_up(leaderless_nomad: Nomad) -> None:
    client = leaderless_nomad.client(retry_seconds=0.0)

    assert client.leader() is None
    with pytest.raises(UnavailableError, match="No cluster leader") as refusal:
        client.read_job("web")
    assert refusal.value.transient
    with pytest.raises(UnavailableError, match="No cluster leader"):
        client.register_job(job("web"), modify_index=0)


@pytest.mark.contract("ConsulClient.leader", "ConsulClient.write_entry", "ConsulClient.kv_get")
def test_a_consul_without_a_leader_takes_nothing_up(leaderless_consul: Consul) -> None:
    client = leaderless_consul.client(retry_seconds=0.0)

    assert client.leader() is None
    with pytest.raises(UnavailableError, match="No cluster leader") as refusal:
        client.kv_get("web")
    assert refusal.value.transient
    with pytest.raises(UnavailableError, match="No cluster leader"):
        client.write_entry({"Kind": "service-defaults", "Name": "web"}, modify_index=0)


@pytest.mark.parametrize("make", [NomadClient, ConsulClient, VaultClient])
def test_an_address_where_nobody_listens_is_named(make: Callable[[Connection], Any]) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    client = make(Connection(address))
    read = client.health if isinstance(client, VaultClient) else client.leader

    with pytest.raises(UnavailableError, match="Connection refused") as refusal:
        read()

    assert address in str(refusal.value)
    assert not refusal.value.transient


@pytest.mark.contract("NomadClient.read_job", "NomadClient.register_job", "NomadClient.leader")
def test_a_frozen_nomad_is_unavailable_and_a_write_to_it_unknown(nomad: Nomad, jobs: Jobs) -> None:
    client = nomad.client(**BRIEF)
    client.read_job("frozen")

    with nomad.server.frozen():
        with pytest.raises(UnavailableError, match="no answer in time") as refusal:
            client.read_job("frozen")
        assert refusal.value.transient
        with pytest.raises(UnavailableError, match="no answer in time"):
            client.leader()
        with pytest.raises(UnknownOutcomeError, match="may have been done"):
            client.register_job(jobs.struct("frozen", Count=0), modify_index=0)


@pytest.mark.contract("ConsulClient.kv_get", "ConsulClient.kv_put")
def test_a_frozen_consul_is_unavailable_and_a_write_to_it_unknown(local_consul: Consul) -> None:
    assert local_consul.server is not None
    client = local_consul.client(**BRIEF)

    with local_consul.server.frozen():
        with pytest.raises(UnavailableError, match="no answer in time"):
            client.kv_get("frozen")
        with pytest.raises(UnknownOutcomeError, match="may have been done"):
            client.kv_put("frozen", b"1")


@pytest.mark.contract("VaultClient.health", "VaultClient.kv_write")
def test_a_frozen_vault_is_unavailable_and_a_write_to_it_unknown(own_vault: Vault) -> None:
    assert own_vault.server is not None
    client = own_vault.client(**BRIEF)

    with own_vault.server.frozen():
        with pytest.raises(UnavailableError, match="no answer in time"):
            client.health()
        with pytest.raises(UnknownOutcomeError, match="may have been done"):
            client.kv_write("secret", "web", {}, version=0)


@pytest.mark.contract("NomadClient.read_job", "NomadClient.register_job", "NomadClient.events")
def test_a_nomad_that_denies_everything_says_so(strict_nomad: Nomad) -> None:
    for token in ("", CANARY):
        client = strict_nomad.client(token)
        for call in (
            lambda client=client: client.read_job("web"),
            lambda client=client: client.register_job(job("web"), modify_index=0),
            lambda client=client: next(client.events({"Job": ["*"]})),
        ):
            with pytest.raises(DeniedError) as refusal:
                call()
            assert refusal.value.status == 403
            _without_token(refusal.value)


@pytest.mark.contract("NomadClient.list_jobs", "NomadClient.read_job", "NomadClient.stop_job")
def test_a_nomad_token_reaches_what_its_policy_says_and_no_more(strict_nomad: Nomad) -> None:
    rules = 'namespace "default" { policy = "read" }'
    strict_nomad.http("PUT", "/v1/acl/policy/reader", {"Name": "reader", "Rules": rules})
    made = strict_nomad.http("PUT", "/v1/acl/token", {"Name": "r", "Type": "client", "Policies": ["reader"]})
    client = strict_nomad.client(made["SecretID"])

    assert client.read_job("web") is None
    assert client.list_jobs() == ()
    with pytest.raises(DeniedError, match="stop job web"):
        client.stop_job("web")


@pytest.mark.contract("ConsulClient.own_token", "ConsulClient.read_entry", "ConsulClient.write_entry")
def test_a_consul_token_reaches_what_its_policy_says_and_no_more(strict_consul: Consul) -> None:
    rules = 'service_prefix "tax-" { policy = "read" intentions = "read" }'
    strict_consul.http("PUT", "/v1/acl/policy", {"Name": "tax-reader", "Rules": rules})
    body = {"Description": "reads tax", "Policies": [{"Name": "tax-reader"}]}
    made = strict_consul.http("PUT", "/v1/acl/token", body)
    client = strict_consul.client(made["SecretID"])

    own = client.own_token()
    assert own is not None
    assert (own.accessor_id, own.description) == (made["AccessorID"], "reads tax")
    assert (own.policies, own.roles, own.expires) == (("tax-reader",), (), "")
    assert made["SecretID"] not in repr(own)
    assert client.read_entry("service-defaults", "tax-web") is None
    with pytest.raises(DeniedError, match="tax-web"):
        client.write_entry({"Kind": "service-defaults", "Name": "tax-web"}, modify_index=0)
    with pytest.raises(DeniedError):
        client.read_entry("service-defaults", "other")


@pytest.mark.contract("ConsulClient.own_token", "ConsulClient.kv_get", "ConsulClient.instances")
def test_an_unknown_consul_token_is_denied(strict_consul: Consul) -> None:
    client = strict_consul.client(CANARY)

    for call in (client.own_token, lambda: client.kv_get("web"), lambda: client.instances("web")):
        with pytest.raises(DeniedError) as refusal:
            call()
        _without_token(refusal.value)


@pytest.mark.contract("ConsulClient.kv_get", "ConsulClient.instances", "ConsulClient.list_entries")
def test_without_a_token_consul_denies_keys_and_hides_the_rest(strict_consul: Consul) -> None:
    client = strict_consul.client("")

    with pytest.raises(DeniedError):
        client.kv_get("web")
    assert client.instances("consul").value == ()
    assert client.list_entries("service-defaults") == ()


@pytest.mark.contract("VaultClient.kv_read")
def test_an_unknown_vault_token_is_denied(vault: Vault) -> None:
    with pytest.raises(DeniedError) as refusal:
        vault.client(CANARY).kv_read("secret", "web")
    _without_token(refusal.value)


def _without_token(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert CANARY not in told
