"""Access lists of real servers: policies, roles, ways in for identities, rules and tokens."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hms_nomad.clients.errors import ConflictError, DeniedError, InvalidRequestError
from hms_nomad.clients.nomad_acl import NomadPolicy
from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad, nomad_with_acls_unclaimed

RULES = 'service_prefix "tax-" { policy = "read" }'


@pytest.mark.contract("ConsulClient.read_acl", "ConsulClient.write_acl", "ConsulClient.delete_acl")
def test_a_policy_and_a_role_of_consul_are_made_changed_and_removed(strict_consul: Consul) -> None:
    client = strict_consul.client()
    assert client.read_acl("policy", "taxes") is None
    made = client.write_acl("policy", {"Name": "taxes", "Description": "ours", "Rules": RULES})
    client.write_acl("policy", {"Name": "taxes", "Description": "ours", "Rules": ""}, made.id)

    stored = client.read_acl("policy", "taxes")
    assert stored is not None
    assert (stored.id, stored.body) == (made.id, {"Name": "taxes", "Description": "ours", "Rules": ""})
    role = client.write_acl("role", {"Name": "taxes", "Description": "ours", "Policies": [{"Name": "taxes"}]})
    found = client.read_acl("role", "taxes")
    assert found is not None
    assert [policy["Name"] for policy in found.body["Policies"]] == ["taxes"]

    client.delete_acl("role", role.id)
    client.delete_acl("policy", made.id)
    client.delete_acl("policy", made.id)
    assert client.read_acl("policy", "taxes") is None
    assert client.read_acl("role", "taxes") is None


@pytest.mark.contract("ConsulClient.write_acl")
def test_a_second_policy_of_a_name_is_refused(strict_consul: Consul) -> None:
    client = strict_consul.client()
    client.write_acl("policy", {"Name": "twice", "Rules": ""})
    with pytest.raises((InvalidRequestError, ConflictError)):
        client.write_acl("policy", {"Name": "twice", "Rules": RULES})


@pytest.mark.contract(
    "ConsulClient.binding_rules", "ConsulClient.write_binding_rule", "ConsulClient.delete_binding_rule"
)
def test_a_way_in_has_rules(strict_consul: Consul) -> None:
    client = strict_consul.client()
    config = {"JWTValidationPubKeys": [_public_key()], "BoundAudiences": ["a"], "ClaimMappings": {"sub": "who"}}
    method = client.write_acl("auth-method", {"Name": "way-in", "Type": "jwt", "Config": config})
    rule = {"AuthMethod": "way-in", "Description": "first", "BindType": "service", "BindName": "x", "Selector": ""}
    made = client.write_binding_rule(rule)
    client.write_binding_rule({**rule, "BindName": "y"}, made.id)

    assert [(one.name, one.id, one.body["BindName"]) for one in client.binding_rules("way-in")] == [
        ("first", made.id, "y")
    ]
    client.delete_binding_rule(made.id)
    client.delete_binding_rule(made.id)
    assert client.binding_rules("way-in") == ()
    stored = client.read_acl("auth-method", "way-in")
    assert stored is not None
    assert stored.body["Config"]["BoundAudiences"] == ["a"]
    client.delete_acl("auth-method", method.id)
    assert client.read_acl("auth-method", "way-in") is None


@pytest.mark.contract("ConsulClient.create_acl_token")
def test_a_token_of_consul_is_the_one_that_was_chosen(strict_consul: Consul) -> None:
    client = strict_consul.client()
    client.write_acl("policy", {"Name": "chosen", "Rules": RULES})
    secret = str(uuid.uuid4())
    client.create_acl_token(secret, "a test", ["chosen"])

    own = strict_consul.client(secret).own_token()
    assert own is not None
    assert (own.description, own.policies) == ("a test", ("chosen",))
    with pytest.raises((InvalidRequestError, ConflictError)):
        client.create_acl_token(secret, "again", ["chosen"])
    with pytest.raises(DeniedError):
        strict_consul.client(secret).read_acl("policy", "chosen")


@pytest.mark.contract("NomadClient.read_acl_policy", "NomadClient.write_acl_policy", "NomadClient.delete_acl_policy")
def test_a_policy_of_nomad_is_made_changed_and_removed(strict_nomad: Nomad) -> None:
    client = strict_nomad.client()
    rules = 'node { policy = "read" }'
    assert client.read_acl_policy("looking") is None
    client.write_acl_policy(NomadPolicy("looking", "ours", rules))
    bound = NomadPolicy("looking", "ours", rules, namespace="default", job="web")
    client.write_acl_policy(bound)

    assert client.read_acl_policy("looking") == bound
    client.delete_acl_policy("looking")
    client.delete_acl_policy("looking")
    assert client.read_acl_policy("looking") is None


@pytest.mark.contract("NomadClient.create_acl_token")
def test_a_token_of_nomad_has_its_policies_and_no_more(strict_nomad: Nomad) -> None:
    client = strict_nomad.client()
    client.write_acl_policy(NomadPolicy("only-nodes", "", 'node { policy = "read" }'))
    secret = client.create_acl_token("a test", ["only-nodes"])

    reader = strict_nomad.client(secret)
    assert reader.ready_nodes()
    with pytest.raises(DeniedError):
        reader.read_acl_policy("no-such")


@pytest.mark.contract("NomadClient.bootstrap_acl")
def test_the_first_token_is_the_one_that_was_chosen_and_there_is_but_one(tmp_path: Path) -> None:
    with nomad_with_acls_unclaimed(tmp_path) as nomad:
        secret = str(uuid.uuid4())
        nomad.client("").bootstrap_acl(secret)
        assert nomad.client(secret).own_token() is not None
        with pytest.raises((InvalidRequestError, ConflictError)):
            nomad.client("").bootstrap_acl(str(uuid.uuid4()))


def _public_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    encoded = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode("ascii")
