"""What ships with the program can be read from a checkout, is whole, and says what it is for."""

from __future__ import annotations

import pytest

from hms_nomad.platform.jobspecs import UnknownDataError, list_policies, read_job, read_policy

SETTINGS = {"namespace": "agency", "services": "tax-", "gateway": "hms-gateway", "egress": "hms-egress"}


def test_every_role_has_a_policy_for_the_servers_that_it_uses():
    found = {(policy.server, policy.role) for policy in list_policies()}
    assert {(server, role) for server in ("nomad", "consul", "vault") for role in ("viewer", "deployer")} <= found


def test_every_policy_says_what_it_is_for_and_can_be_filled():
    for policy in list_policies():
        assert policy.purpose.endswith(".")
        assert "{" not in read_policy(policy.server, policy.role, SETTINGS).text.replace(" {\n", "").replace(" { ", "")


def test_settings_appear_in_the_policy():
    assert 'namespace "agency"' in read_policy("nomad", "deployer", SETTINGS).text
    assert 'service_prefix "tax-"' in read_policy("consul", "deployer", SETTINGS).text


@pytest.mark.parametrize("value", ['x" { policy = "write" }', "a\nb", "a b", "$" + "{x}"])
def test_a_value_cannot_end_its_string(value):
    with pytest.raises(ValueError, match="cannot stand in a policy"):
        read_policy("nomad", "viewer", {"namespace": value})


def test_a_missing_setting_is_named():
    with pytest.raises(ValueError, match="needs a value for namespace"):
        read_policy("nomad", "viewer", {})


@pytest.mark.parametrize(("server", "role"), [("nomad", "god"), ("nomad", "../consul/viewer"), ("etcd", "viewer")])
def test_an_unknown_policy_is_answered_with_the_known_ones(server, role):
    with pytest.raises(UnknownDataError, match="nomad/deployer"):
        read_policy(server, role, SETTINGS)


def test_an_unknown_job_is_answered_with_the_known_ones():
    with pytest.raises(UnknownDataError, match="proxy"):
        read_job("database")


def test_no_policy_gives_more_than_its_role_needs():
    texts = {f"{policy.server}/{policy.role}": policy.text for policy in list_policies()}
    assert all("management" not in text for text in texts.values())
    assert [name for name, text in texts.items() if "sudo" in text] == ["vault/admin"]
    assert [name for name, text in texts.items() if 'acl = "write"' in text] == ["consul/admin"]
    for name in ("nomad/viewer", "consul/viewer", "vault/viewer", "nomad/planner", "vault/planner"):
        assert "write" not in texts[name]
        assert "update" not in texts[name]
