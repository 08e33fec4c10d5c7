"""The shipped policies give each role what the clients need and nothing else, on servers that deny by default."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import ExternalService, StoredEntry
from hms_nomad.clients.errors import ConflictError, DeniedError, NotFoundError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.compile import compile_spec
from hms_nomad.compile.gateway import gateway_entry
from hms_nomad.compile.proxy_job import egress_entry
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.platform.jobspecs import read_policy
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Egress, Gateway
from tests.contract.consul_server import Consul
from tests.contract.nomad_server import Nomad, job
from tests.contract.vault_server import Vault
from tests.unit.specs import spec
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists")]

SETTINGS = {"namespace": "default", "services": "receipt-", "gateway": "hms-gateway", "egress": "hms-egress"}
PUBLIC = [{"path": "/receipt", "methods": ["POST"], "public": True}]


def nomad_as(nomad: Nomad, role: str) -> NomadClient:
    name = f"hms-{role}"
    nomad.http("POST", f"/v1/acl/policy/{name}", {"Name": name, "Rules": read_policy("nomad", role, SETTINGS).text})
    token = nomad.http("POST", "/v1/acl/token", {"Name": name, "Type": "client", "Policies": [name]})
    return nomad.client(token["SecretID"])


def consul_as(consul: Consul, *roles: str) -> ConsulClient:
    policies = []
    for role in roles:
        name = f"hms-{role}"
        known = {policy["Name"] for policy in consul.http("GET", "/v1/acl/policies")}
        if name not in known:
            rules = read_policy("consul", role, SETTINGS).text
            consul.http("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
        policies.append({"Name": name})
    return consul.client(consul.http("PUT", "/v1/acl/token", {"Policies": policies})["SecretID"])


def written(client: ConsulClient, body: Mapping[str, Any]) -> StoredEntry:
    """A config entry that was not there, as it stands after it was written."""
    client.write_entry(body, 0)
    stored = client.read_entry(body["Kind"], body["Name"])
    assert stored is not None
    return stored


def remove(client: ConsulClient, stored: StoredEntry) -> None:
    """Delete a route or a gateway, into which Consul itself writes what became of it."""

    def gone() -> bool:
        current = client.read_entry(stored.kind, stored.name)
        assert current is not None
        with contextlib.suppress(ConflictError):
            client.delete_entry(current.kind, current.name, current.modify_index)
            return True
        return False

    assert eventually(gone)


def denied(*calls: Callable[[], object]) -> None:
    for call in calls:
        with pytest.raises(DeniedError):
            call()


def entry(kind: str, **spec_fields: object) -> dict[str, object]:
    desired = compile_spec(spec(**spec_fields), Platform())
    return dict(next(one.body for one in desired.entries if one.kind == kind))


def test_a_nomad_deployer_registers_scales_stops_and_works_with_deployments(strict_nomad: Nomad) -> None:
    client = nomad_as(strict_nomad, "deployer")
    body = {**job("deployed"), "TaskGroups": [{**job("deployed")["TaskGroups"][0], "Scaling": {"Min": 1, "Max": 3}}]}
    assert not client.validate_job(body).errors
    client.plan_job(body)
    client.register_job(body, 0)
    stored = client.read_job("deployed")
    assert stored is not None
    client.scale_status("deployed")
    client.tag_version("deployed", stored.version, "release")
    client.untag_version("deployed", "release")
    # The scheduler makes the deployment a moment after the registration.
    deployment = eventually(lambda: client.newest_deployment("deployed"))
    assert deployment is not None
    client.fail_deployment(deployment.id)
    client.scale_job("deployed", "main", 2, "by a test")
    client.job_versions("deployed")
    assert [one.id for one in client.list_jobs()] == ["deployed"]
    client.ready_nodes()
    assert client.version()
    client.stop_job("deployed")


def test_a_nomad_viewer_reads_and_writes_nothing(strict_nomad: Nomad) -> None:
    nomad_as(strict_nomad, "deployer").register_job(job("seen"), 0)
    client = nomad_as(strict_nomad, "viewer")
    stored = client.read_job("seen")
    assert stored is not None
    client.job_allocations("seen")
    client.ready_nodes()
    assert client.version()
    denied(
        lambda: client.plan_job(job("seen")),
        lambda: client.register_job(job("other"), 0),
        lambda: client.stop_job("seen"),
        lambda: client.scale_job("seen", "main", 2, ""),
        lambda: client.revert_job("seen", 0, 0),
        lambda: client.tag_version("seen", 0, "release"),
    )
    deployment = client.newest_deployment("seen")
    assert deployment is not None
    denied(
        lambda: client.promote_deployment(deployment.id),
        lambda: client.fail_deployment(deployment.id),
        lambda: client.pause_deployment(deployment.id, True),
    )


def test_roles_end_at_their_namespace(strict_nomad: Nomad) -> None:
    strict_nomad.http("POST", "/v1/namespace/other", {"Name": "other"})
    for role in ("viewer", "deployer", "operator"):
        client = nomad_as(strict_nomad, role)
        elsewhere = NomadClient(client._transport.connection, namespace="other")
        denied(lambda there=elsewhere: there.read_job("anything"), lambda there=elsewhere: there.list_jobs())


def test_only_an_operator_forgets_a_job(strict_nomad: Nomad) -> None:
    deployer, operator = nomad_as(strict_nomad, "deployer"), nomad_as(strict_nomad, "operator")
    deployer.register_job(job("forgotten"), 0)
    denied(lambda: deployer.stop_job("forgotten", purge=True))
    operator.stop_job("forgotten", purge=True)
    assert operator.read_job("forgotten") is None


def test_the_autoscaler_reads_policies_and_sets_counts(strict_nomad: Nomad) -> None:
    body = {**job("scaled"), "TaskGroups": [{**job("scaled")["TaskGroups"][0], "Scaling": {"Min": 1, "Max": 3}}]}
    nomad_as(strict_nomad, "operator").register_job(body, 0)
    client = nomad_as(strict_nomad, "autoscaler")
    assert [policy.job_id for policy in client.scaling_policies("scaled")] == ["scaled"]
    assert client.scale_status("scaled")
    denied(lambda: client.register_job(job("own"), 0), lambda: client.stop_job("scaled"))


def test_the_driver_of_rollouts_finishes_deployments_and_starts_none(strict_nomad: Nomad) -> None:
    deployer = nomad_as(strict_nomad, "deployer")
    deployer.register_job(job("rolled"), 0)
    client = nomad_as(strict_nomad, "rollouts")
    stored = client.read_job("rolled")
    assert stored is not None
    assert client.job_versions("rolled")
    client.job_allocations("rolled")
    client.list_jobs()
    client.tag_version("rolled", stored.version, "release")
    client.untag_version("rolled", "release")
    deployment = client.newest_deployment("rolled")
    assert deployment is not None
    client.fail_deployment(deployment.id)
    client.register_job(job("rolled", "exit 0"), stored.modify_index)
    parameterized = {**job("driver"), "Type": "batch", "ParameterizedJob": {"Payload": "forbidden"}}
    for field in ("Update",):
        parameterized.pop(field)
    deployer.register_job(parameterized, 0)
    denied(
        lambda: client.stop_job("rolled"),
        lambda: client.scale_job("rolled", "main", 2, ""),
        lambda: client.dispatch_job("driver", {}),
    )
    assert deployer.dispatch_job("driver", {}).job_id.startswith("driver/dispatch-")


def test_a_consul_deployer_writes_the_rules_of_its_own_services(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "deployer")
    desired = compile_spec(spec(), Platform())
    stored = [written(client, one.body) for one in desired.entries]
    stored.append(written(client, merged_intentions(desired, {}, {})["receipt-svc"] or {}))
    assert client.list_entries("service-router")
    assert client.instances("receipt-svc").value == ()
    assert client.services().value
    assert client.agent().version
    assert client.leaf_certificate("hms-operator-somebody").spiffe_id.endswith("/svc/hms-operator-somebody")
    session = client.create_session("deploy", 10, 0)
    assert client.kv_put("hms-nomad/locks/receipt-svc", b"", acquire=session)
    client.destroy_session(session)
    for one in reversed(stored):
        client.delete_entry(one.kind, one.name, one.modify_index)


def test_the_driver_of_rollouts_writes_the_rules_of_its_services_and_is_none_of_them(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "rollouts")
    desired = compile_spec(spec(), Platform())
    stored = [written(client, one.body) for one in desired.entries]
    stored.append(written(client, merged_intentions(desired, {}, {})["receipt-svc"] or {}))
    assert client.list_entries("service-resolver")
    assert client.instances("receipt-svc").value == ()
    assert client.kv_put("hms-nomad/rollouts/default/receipt-svc", b"{}", modify_index=0)
    client.destroy_session(client.create_session("drive", 10, 0))
    denied(
        lambda: client.write_entry({**stored[0].body, "Name": "other-svc"}, 0),
        lambda: client.leaf_certificate("hms-operator-nobody"),
        lambda: client.kv_put("else/where", b"", modify_index=0),
    )
    for one in reversed(stored):
        client.delete_entry(one.kind, one.name, one.modify_index)


def test_a_consul_deployer_touches_no_other_service_and_opens_no_gateway(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "deployer")
    client.write_entry(entry("service-defaults"), 0)
    denied(
        lambda: client.write_entry(entry("service-defaults", name="payment-svc"), 0),
        lambda: client.write_entry(
            {"Kind": "service-intentions", "Name": "tax-svc", "Sources": [{"Name": "receipt-svc", "Action": "allow"}]},
            0,
        ),
        lambda: client.write_entry(entry("http-route", routes=PUBLIC), 0),
        lambda: client.write_entry(gateway_entry(Gateway()).body, 0),
        lambda: client.write_entry({"Kind": "proxy-defaults", "Name": "global"}, 0),
        lambda: client.kv_put("other/key", b""),
        lambda: client.leaf_certificate("payment-svc"),
        client.ca_configuration,
    )
    assert client.list_entries("http-route") == ()


def test_a_publisher_opens_routes(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "deployer", "publisher")
    remove(client, written(client, entry("http-route", routes=PUBLIC)))


def test_a_publisher_opens_ways_out(strict_consul: Consul) -> None:
    platform = Platform()
    external = spec(
        name="receipt-db", kind="external", image=None, routes=None, scaling=None, host="db", protocol="tcp"
    )
    desired = compile_spec(external, platform)
    where = desired.outside
    assert where is not None
    out = ExternalService(where.node, where.address, "receipt-db", "receipt-db", where.port, meta=where.meta)
    linked = {**egress_entry(Egress()).body, "Services": [dict(where.link)]}
    plain, publisher = consul_as(strict_consul, "deployer"), consul_as(strict_consul, "deployer", "publisher")
    denied(lambda: plain.catalog_register(out), lambda: plain.write_entry(linked, 0))
    publisher.catalog_register(out)
    stored = written(publisher, linked)
    publisher.delete_entry(stored.kind, stored.name, stored.modify_index)
    publisher.catalog_deregister(where.node)
    denied(lambda: publisher.catalog_register(replace(out, node="somewhere-else")))


def test_an_egress_is_the_services_behind_it_and_no_other(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "egress")
    for name in ("hms-egress", "receipt-db"):
        assert client.leaf_certificate(name).spiffe_id.endswith(f"/svc/{name}")
    denied(lambda: client.leaf_certificate("tax-svc"))


def test_a_consul_viewer_reads_and_writes_nothing(strict_consul: Consul) -> None:
    strict_consul.client().kv_put("hms-nomad/seen", b"x")
    client = consul_as(strict_consul, "viewer")
    assert client.services().value
    assert client.kv_get("hms-nomad/seen") is not None
    assert client.agent().version
    assert client.list_entries("api-gateway") == ()
    assert client.ca_roots()
    denied(
        lambda: client.write_entry(entry("service-defaults", name="receipt-new"), 0),
        lambda: client.write_entry(entry("http-route", routes=PUBLIC), 0),
        lambda: client.kv_put("hms-nomad/seen", b"y"),
        lambda: client.create_session("deploy", 10, 0),
        lambda: client.leaf_certificate("receipt-svc"),
        client.ca_configuration,
    )


def test_the_registrys_endpoint_reads_what_it_answers_and_nothing_of_the_journals(strict_consul: Consul) -> None:
    strict_consul.client().kv_put("hms-nomad/rollouts/seen", b"x")
    consul_as(strict_consul, "deployer").write_entry(entry("service-defaults", name="receipt-listed"), 0)
    client = consul_as(strict_consul, "registry")
    assert client.services().value
    assert client.watch_checks().value
    assert "receipt-listed" in {one.name for one in client.watch_entries("service-defaults").value}
    assert client.watch_entries("http-route").value == ()
    denied(
        lambda: client.write_entry(entry("service-defaults", name="receipt-new"), 0),
        lambda: client.leaf_certificate("receipt-listed"),
        lambda: client.create_session("registry", 10, 0),
        lambda: client.kv_put("hms-nomad/rollouts/seen", b"y"),
    )
    assert client.kv_list("hms-nomad/") == ()


def test_an_operator_keeps_gateways_and_the_meshs_authority(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "operator")
    assert client.ca_configuration().provider == "consul"
    remove(client, written(client, gateway_entry(Gateway(name="front-door")).body))


def test_a_gateway_is_its_own_service_and_no_other(strict_consul: Consul) -> None:
    client = consul_as(strict_consul, "gateway")
    assert client.leaf_certificate("hms-gateway").spiffe_id.endswith("/svc/hms-gateway")
    assert client.list_entries("http-route") == ()
    denied(
        lambda: client.leaf_certificate("receipt-svc"),
        lambda: client.write_entry(gateway_entry(Gateway()).body, 0),
    )


def test_a_vault_deployer_keeps_roles_and_policies_but_reads_no_secret(own_vault: Vault) -> None:
    own_vault.http("POST", "sys/auth/jwt-nomad", {"type": "jwt"})
    own_vault.http("POST", "secret/data/receipt", {"data": {"password": "canary"}})
    for role in ("deployer", "viewer"):
        text = read_policy("vault", role, SETTINGS).text
        own_vault.http("PUT", f"sys/policies/acl/{role}", {"policy": text})

    def client_of(role: str):
        made = own_vault.http("POST", "auth/token/create", {"policies": [role], "no_default_policy": True})
        return own_vault.client(made["auth"]["client_token"])

    deployer, viewer = client_of("deployer"), client_of("viewer")
    deployer.write_policy("hms-svc-default.receipt-svc.1", 'path "secret/data/receipt" { capabilities = ["read"] }')
    deployer.write(
        "auth/jwt-nomad/role/hms-svc-default.receipt-svc.1",
        {
            "role_type": "jwt",
            "bound_audiences": ["vault.io"],
            "user_claim": "/nomad_job_id",
            "user_claim_json_pointer": True,
            "bound_claims": {"nomad_job_id": "receipt-svc"},
            "token_policies": ["hms-svc-default.receipt-svc.1"],
        },
    )
    assert deployer.read("auth/token/lookup-self")
    assert viewer.read("auth/token/lookup-self")
    denied(
        lambda: deployer.kv_read("secret", "receipt"),
        lambda: deployer.write_policy("root-like", 'path "*" { capabilities = ["sudo"] }'),
        lambda: deployer.enable_secrets("other", "kv"),
        lambda: viewer.kv_read("secret", "receipt"),
        lambda: viewer.write_policy("hms-svc-default.receipt-svc.1", ""),
    )
    deployer.delete_policy("hms-svc-default.receipt-svc.1")


def test_without_a_token_nothing_is_readable(strict_nomad: Nomad, strict_consul: Consul) -> None:
    with pytest.raises((DeniedError, NotFoundError)):
        strict_nomad.client("").read_job("seen")
    assert strict_consul.client("").services().value == {}
