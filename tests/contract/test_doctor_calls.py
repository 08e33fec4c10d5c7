"""What the doctor asks: configuration of agents, clocks, tokens and their rights, as real servers answer it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import AclRight
from hms_nomad.clients.errors import DeniedError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.mesh.caller import Caller
from hms_nomad.workflows.session import Session
from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad
from tests.contract.vault_server import Vault

UNKNOWN = "11111111-2222-3333-4444-555555555555"


@pytest.mark.contract("NomadClient.agent")
def test_an_agent_tells_what_services_stand_on(client: NomadClient, strict_nomad: Nomad) -> None:
    agent = client.agent()
    assert agent.client
    assert agent.publishes_allocations
    assert not agent.acl
    assert (agent.consul_grpc_ca, agent.consul_tls, agent.consul_identities) == ("", False, False)
    assert agent.version == client.version()
    assert strict_nomad.client().agent().acl


@pytest.mark.contract("NomadClient.list_nodes")
def test_all_nodes_are_listed_with_their_networks(client: NomadClient) -> None:
    (node,) = client.list_nodes()
    assert "host" in node.networks
    assert not node.draining
    assert node.attributes["nomad.version"] == client.version()


@pytest.mark.contract("NomadClient.own_token")
def test_nomad_tells_of_the_token_that_is_sent(client: NomadClient, strict_nomad: Nomad) -> None:
    assert client.own_token() is None
    own = strict_nomad.client().own_token()
    assert own is not None
    assert own.management
    made = strict_nomad.http("POST", "/v1/acl/token", {"Name": "jane", "Type": "client", "Policies": ["few"]})
    few = strict_nomad.client(made["SecretID"]).own_token()
    assert few is not None
    assert (few.accessor_id, few.name, few.management, few.policies) == (made["AccessorID"], "jane", False, ("few",))
    with pytest.raises(DeniedError):
        strict_nomad.client(UNKNOWN).own_token()


@pytest.mark.contract("NomadClient.clock", "ConsulClient.clock", "VaultClient.clock")
def test_every_server_tells_the_time(client: NomadClient, consul: Consul, vault: Vault) -> None:
    before = time.time()
    asks: list[Callable[[], Any]] = [client.clock, consul.client().clock, vault.client().clock]
    for told in [ask() for ask in asks]:
        assert before - 1 <= told <= time.time()


@pytest.mark.contract("ConsulClient.authorized")
def test_consul_judges_rights_of_the_token_that_is_sent(consul: Consul, strict_consul: Consul) -> None:
    rules = 'service_prefix "tax-" { policy = "write" } mesh = "read"'
    strict_consul.http("PUT", "/v1/acl/policy", {"Name": "judged", "Rules": rules})
    token = strict_consul.http("PUT", "/v1/acl/token", {"Policies": [{"Name": "judged"}]})["SecretID"]
    asked = (AclRight("service", "write", "tax-a"), AclRight("service", "write", "b"), AclRight("mesh", "read"))
    assert strict_consul.client(token).authorized((*asked, AclRight("operator", "read"))) == (True, False, True, False)
    with pytest.raises(DeniedError):
        strict_consul.client(UNKNOWN).authorized(asked)
    assert consul.client().authorized(asked) == (True, True, True), "where ACLs are off, everybody has every right"


@pytest.mark.contract("ConsulClient.leaf_certificate")
def test_a_certificate_that_the_agent_holds_is_not_taken_without_the_right_to_it(strict_consul: Consul) -> None:
    strict_consul.http("PUT", "/v1/acl/policy", {"Name": "reads", "Rules": 'service_prefix "" { policy = "read" }'})
    token = strict_consul.http("PUT", "/v1/acl/token", {"Policies": [{"Name": "reads"}]})["SecretID"]

    def session(client: ConsulClient) -> Session:
        return Session(Platform(), cast("Any", None), client, None)

    owner, stranger = strict_consul.client(), strict_consul.client(token)
    held = Caller.of(session(owner), "held-svc")
    with pytest.raises(DeniedError, match="the token lacks service:write on held-svc") as caught:
        Caller.of(session(stranger), "held-svc")
    assert caught.value.status == 403
    assert owner.leaf_certificate("held-svc") == held.leaf


@pytest.mark.contract("VaultClient.own_token")
def test_vault_tells_of_the_token_that_is_sent(vault: Vault) -> None:
    root = vault.client().own_token()
    assert (root.policies, root.ttl_seconds) == (("root",), 0.0)
    made = vault.http("POST", "auth/token/create", {"policies": ["default"], "ttl": "90s", "renewable": False})
    short = vault.client(made["auth"]["client_token"]).own_token()
    assert short.accessor == made["auth"]["accessor"]
    assert 0 < short.ttl_seconds <= 90
    assert not short.renewable
    with pytest.raises(DeniedError):
        vault.client(UNKNOWN).own_token()


@pytest.mark.contract("VaultClient.capabilities")
def test_vault_tells_what_a_token_may_do(vault: Vault) -> None:
    vault.http("PUT", "sys/policies/acl/judged", {"policy": 'path "secret/data/a" { capabilities = ["read"] }'})
    made = vault.http("POST", "auth/token/create", {"policies": ["judged"]})
    found = vault.client(made["auth"]["client_token"]).capabilities(["secret/data/a", "secret/data/b"])
    assert found == {"secret/data/a": frozenset({"read"}), "secret/data/b": frozenset({"deny"})}
    (one,) = vault.client().capabilities(["secret/data/a"]).values()
    assert one == {"root"}
