"""The foundation of a cluster, without any server."""

from __future__ import annotations

from hms_nomad.compile.foundation import BaseObject, Facts, RoleText, foundation, stanzas
from hms_nomad.platform.jobspecs import list_policies, read_policy
from hms_nomad.platform.model import Platform, Rollouts
from hms_nomad.platform.model_proxies import Gateway, GatewayTls

SETTINGS = {"namespace": "tax", "services": "tax-", "gateway": "hms-gateway", "egress": "hms-egress"}
POLICIES = tuple(
    RoleText(one.server, one.role, read_policy(one.server, one.role, SETTINGS).text) for one in list_policies()
)
FACTS = Facts(
    jwks_url="https://nomad:4646/.well-known/jwks.json",
    jwks_ca="-----BEGIN",
    nomad_acl=True,
    consul_acl=True,
    vault=True,
    allows_by_default=True,
    vault_address="https://vault:8200",
    vault_ca_file="/etc/ca.pem",
)
NOTHING = Facts("", "", nomad_acl=False, consul_acl=False, vault=False, allows_by_default=False)


def laid(platform: Platform | None = None, facts: Facts = FACTS) -> dict[tuple[str, str], BaseObject]:
    return {(one.kind, one.name): one for one in foundation(platform or Platform(namespace="tax"), facts, POLICIES)}


def test_a_cluster_that_asks_for_nothing_gets_nothing() -> None:
    assert laid(facts=NOTHING) == {}


def test_a_job_of_one_namespace_can_be_the_service_of_its_own_name_and_no_other() -> None:
    rule = laid()["consul binding rule", "services"].body

    assert (rule["BindType"], rule["BindName"]) == ("service", "${value.nomad_job_id}")
    assert rule["Selector"] == '"nomad_service" in value and value.nomad_namespace == "tax"'


def test_each_job_of_the_platform_has_the_role_of_exactly_its_name() -> None:
    found = laid(Platform(namespace="tax", rollouts=Rollouts(name="driver"), gateway=None))

    rule = found["consul binding rule", "driver"].body
    assert rule["BindName"] == "hms-job-driver"
    assert 'value.nomad_job_id == "driver"' in rule["Selector"]
    assert 'value.nomad_namespace == "tax"' in rule["Selector"]
    assert found["consul role", "hms-job-driver"].body["Policies"] == [
        {"Name": "hms-rollouts"},
        {"Name": "hms-publisher"},
    ]
    assert found["nomad policy", "hms-rollouts"].body["JobID"] == "driver"
    assert not [name for _, name in found if "gateway" in name]


def test_a_proxy_has_its_role_as_a_service_too_for_consul_reads_with_that_token_what_it_tells_the_proxy() -> None:
    found = laid()

    for proxy in ("hms-gateway", "hms-egress"):
        assert "nomad_service" not in found["consul binding rule", proxy].body["Selector"]
    assert '"nomad_service" not in value' in found["consul binding rule", "hms-rollouts"].body["Selector"]


def test_roles_come_after_their_policies_and_rules_after_the_way_in() -> None:
    order = [(one.kind, one.name) for one in foundation(Platform(), FACTS, POLICIES)]
    kinds = [kind for kind, _ in order]

    assert kinds.index("consul role") > max(n for n, kind in enumerate(kinds) if kind == "consul policy")
    assert kinds.index("consul binding rule") > kinds.index("consul login")
    assert order.index(("vault authority", "pki")) > order.index(("vault authority", "pki-root"))
    assert kinds.index("consul authority") > max(n for n, kind in enumerate(kinds) if kind == "vault policy")


def test_every_object_says_whose_it_is() -> None:
    unmarked = {"vault authority", "vault login keys", "consul authority"}
    for one in laid().values():
        text = str(one.body)
        assert one.kind in unmarked or "managed-by: hms-nomad" in text or "'managed-by': 'hms-nomad'" in text, one


def test_the_mesh_is_closed_only_where_it_is_open() -> None:
    closed = Facts(**{name: getattr(FACTS, name) for name in FACTS.__slots__} | {"allows_by_default": False})

    assert ("consul entry", "service-intentions/*") in laid()
    assert ("consul entry", "service-intentions/*") not in laid(facts=closed)


def test_agents_files_name_the_same_ways_in() -> None:
    found = stanzas(FACTS)

    assert 'service_auth_method = "nomad-workloads"' in found["nomad"]
    assert 'jwt_auth_backend_path = "jwt-nomad"' in found["nomad"]
    assert 'ca_file               = "/etc/ca.pem"' in found["nomad"]
    assert "vault" not in stanzas(NOTHING)["nomad"]


def test_a_gateway_with_certificates_of_vaults_can_get_these_and_no_other() -> None:
    tls = GatewayTls(names=("api.agency.gov",), ttl="24h")
    found = laid(Platform(namespace="tax", gateway=Gateway(name="front", tls=tls)))
    policy = found["vault policy", "hms-gateway"].body["policy"]
    assert 'path "pki/issue/hms-gateway" { capabilities = ["update"] }' in policy
    assert "secret" not in policy
    role = found["vault role", "jwt-nomad/role/hms-gateway"].body
    assert role["bound_claims"] == {"nomad_namespace": "tax", "nomad_job_id": "front"}
    issuing = found["vault pki role", "pki/roles/hms-gateway"].body
    assert (issuing["allowed_domains"], issuing["max_ttl"]) == (["api.agency.gov"], 24 * 3600)

    others = (
        Gateway(),
        Gateway(tls=GatewayTls(names=("a.gov",), issuer="front-pki/issue/hms-gateway")),
        Gateway(tls=GatewayTls(names=("a.gov",), vault_role="mine")),
    )
    for gateway in others:
        assert not [
            one for one in laid(Platform(gateway=gateway)) if one[0].startswith("vault") and "gateway" in one[1]
        ]
