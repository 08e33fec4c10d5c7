"""Every rule of every shipped policy is needed: without it, a call that its role makes is refused or sees nothing.

What commands do with these policies as a whole, the table of docs/access.md says, and a test on a whole stack holds.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hms_nomad.apply.foundation_vault import delete_in_vault, holds_secrets, read_in_vault, write_in_vault
from hms_nomad.clients.consul_types import AclRight, ExternalService
from hms_nomad.clients.errors import DeniedError, ServerError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_exec import TaskCommand
from hms_nomad.clients.vault import VaultClient
from hms_nomad.compile.foundation import CONNECT_POLICY, KV_MOUNT, BaseObject, Facts, RoleText, foundation
from hms_nomad.compile.gateway import gateway_entry
from hms_nomad.plan.groundwork import Stored
from hms_nomad.platform.jobspecs import list_policies, read_policy
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_proxies import Gateway, GatewayTls
from tests.contract.consul_server import Consul
from tests.contract.jobs import jobs_of
from tests.contract.nomad_server import Nomad, job
from tests.contract.test_rights import Guarded
from tests.contract.vault_server import Vault, vault_process
from tests.live.mesh.rules import NOTHING, says_something, without_each
from tests.live.mesh.test_policies import PUBLIC, SETTINGS, entry

pytestmark = [pytest.mark.live, pytest.mark.real_nomad("access lists")]

BESIDE = {"planner": "viewer", "publisher": "deployer", "admin": "operator"}
"""Roles that stand beside another one."""

# Consul's own: what it needs of Vault is held by the tests that let it make, renew and leave an authority.
ELSEWHERE = frozenset({("vault", "connect-ca")})

Check = Callable[[Any], object]

_NUMBER = itertools.count()


# ---- Nomad ----

NomadCheck = Callable[[NomadClient, Guarded], object]
_VIEWS: tuple[NomadCheck, ...] = (
    lambda client, _: client.list_jobs(),
    lambda client, its: client.read_job(its.job),
    lambda client, its: list(client.logs(its.allocation, "work")),
)
_AGENTS: tuple[NomadCheck, ...] = (lambda client, _: client.ready_nodes(), lambda client, _: client.version())
_PLANS: tuple[NomadCheck, ...] = (lambda client, its: client.plan_job(job(its.job)),)
_ROLLS: tuple[NomadCheck, ...] = (
    lambda client, its: client.register_job(job(its.job), 0),
    lambda client, its: client.tag_version(its.job, 9, "t"),
    lambda client, its: client.promote_deployment(its.deployment),
    lambda client, its: client.fail_deployment(its.deployment),
)
_DEPLOYS: tuple[NomadCheck, ...] = (
    lambda client, _: client.stop_job("no-such-job"),
    lambda client, its: client.scale_job(its.job, "no-such-group", 1, ""),
    lambda client, its: client.dispatch_job(its.job, {}),
)


def _command_in(task: str) -> NomadCheck:
    """Nomad looks for the right to commands first, then for the task, then for that to one that nothing isolates."""
    return lambda client, its: client.run_in_task(TaskCommand(its.allocation, task, ("true",)), (), lambda *_: None)


_NOMAD: Mapping[str, Sequence[NomadCheck]] = {
    "viewer": (*_VIEWS, *_AGENTS),
    "planner": _PLANS,
    "deployer": (*_VIEWS, *_AGENTS, *_PLANS, *_ROLLS, *_DEPLOYS, _command_in("no-such-task")),
    "operator": (
        *(*_VIEWS, *_AGENTS, *_PLANS, *_ROLLS, *_DEPLOYS),
        lambda client, _: client.stop_job("no-such-job", purge=True),
        _command_in("no-such-task"),
        _command_in("work"),
    ),
    "rollouts": (*_VIEWS, *_ROLLS),
    "autoscaler": (
        lambda client, its: client.scaling_policies(its.job),
        lambda client, its: client.scale_status(its.job),
        lambda client, its: client.scale_job(its.job, "no-such-group", 1, ""),
    ),
}
"""What the commands of a role, or the job that has it, ask of Nomad."""


@pytest.fixture(scope="module")
def guarded(strict_nomad: Nomad) -> Iterator[Guarded]:
    owner = strict_nomad.client()
    with jobs_of(owner) as jobs:
        yield Guarded(owner, jobs)


@pytest.fixture
def empty_vault(tmp_path: Path) -> Iterator[Vault]:
    """A Vault for one test."""
    with vault_process(tmp_path) as server:
        yield server


def _policies(server: str) -> list[str]:
    return [one.role for one in list_policies() if one.server == server and (server, one.role) not in ELSEWHERE]


def _unneeded(text: str, refused: Callable[[str], str]) -> list[str]:
    """The rules without which nothing is refused, as nothing is with the whole policy."""
    assert not refused(text), refused(text)
    return [rule for rule, less in without_each(text) if not refused(less)]


def _refusal(checks: Sequence[Callable[[], object]], harmless: type[Exception] | tuple[()] = ServerError) -> str:
    """The first check that is refused or sees nothing, or ""; a ``harmless`` fault is no word about rights."""
    for number, check in enumerate(checks):
        try:
            if check() is False:
                return f"check {number} sees nothing"
        except DeniedError as error:
            return str(error)
        except harmless:
            continue
        except ServerError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("role", _policies("nomad"))
def test_nomad(role: str, strict_nomad: Nomad, guarded: Guarded) -> None:
    def refused(text: str) -> str:
        # Agents remember for half a minute what a policy said, so each try has policies and a token of its own.
        texts = [text] if role not in BESIDE else [text, read_policy("nomad", BESIDE[role], SETTINGS).text]
        names = []
        for rules in filter(says_something, (*texts, NOTHING)):
            names.append(f"each-{next(_NUMBER)}")
            strict_nomad.http("POST", f"/v1/acl/policy/{names[-1]}", {"Name": names[-1], "Rules": rules})
        made = strict_nomad.http("POST", "/v1/acl/token", {"Name": role, "Type": "client", "Policies": names})
        client = strict_nomad.client(made["SecretID"])
        checks = [lambda check=check: check(client, guarded) for check in _NOMAD[role]]
        if role == "autoscaler":
            checks.append(lambda: _keeps_a_variable(strict_nomad, made["SecretID"]))
        return _refusal(checks)

    unneeded = _unneeded(read_policy("nomad", role, SETTINGS).text, refused)
    assert not unneeded, unneeded


def _keeps_a_variable(nomad: Nomad, token: str) -> bool:
    """The lock by which instances of the autoscaler agree on a leader."""
    path = "hms-nomad/autoscaler/leader"
    as_role = Nomad(nomad.address, token, nomad.server)
    try:
        as_role.http("PUT", f"/v1/var/{path}", {"Path": path, "Items": {"a": "b"}})
        return bool(as_role.http("GET", f"/v1/var/{path}"))
    except OSError:
        return False


# ---- Consul ----


def _may(resource: str, access: str, segment: str = "") -> Check:
    return lambda client: client.authorized([AclRight(resource, access, segment)])[0]


def _intentions(name: str) -> Check:
    body = {"Kind": "service-intentions", "Name": name, "Sources": [{"Name": "tax", "Action": "allow"}]}
    return lambda client: client.write_entry(body, 0)


def _outside(name: str) -> ExternalService:
    return ExternalService(f"hms-external-{name}", "db", name, name, 5432, meta={})


_SERVICES: tuple[Check, ...] = (
    lambda client: "consul" in client.services().value,
    lambda client: bool(client.instances("consul").value),
)
_MESH: Check = lambda client: client.read_entry("http-route", "seen-route") is not None  # noqa: E731
_PROVIDER: Check = lambda client: client.read_entry("jwt-provider", "seen-provider") is not None  # noqa: E731
_AGENT: Check = lambda client: client.agent()  # noqa: E731
_KEY: Check = lambda client: client.kv_get("hms-nomad/seen") is not None  # noqa: E731
_LOCKS: tuple[Check, ...] = (
    lambda client: client.kv_put("hms-nomad/mine", b""),
    lambda client: client.destroy_session(client.create_session("mine", 10, 0)),
)
_OWN: tuple[Check, ...] = (
    lambda client: client.write_entry(entry("service-defaults", name="receipt-own"), 0),
    _intentions("receipt-own"),
)
_KEYS = base64.b64encode(b'{"keys": []}').decode()
_CONSUL: Mapping[str, Sequence[Check]] = {
    "viewer": (*_SERVICES, _MESH, _AGENT, _KEY, _may("session", "read", "seen")),
    "deployer": (*_SERVICES, _MESH, _AGENT, *_LOCKS, *_OWN, _may("service", "write", "hms-operator-jane")),
    "publisher": (
        lambda client: client.write_entry(entry("http-route", name="receipt-out", routes=PUBLIC), 0),
        lambda client: client.catalog_register(_outside(f"receipt-out-{next(_NUMBER)}")),
    ),
    "operator": (
        *(*_SERVICES, _AGENT, *_LOCKS),
        lambda client: client.write_entry(gateway_entry(Gateway(name="other-gate")).body, 0),
        lambda client: client.ca_configuration(),
        lambda client: client.write_entry(entry("service-defaults", name="other-svc"), 0),
        _intentions("other-svc"),
    ),
    "admin": (lambda client: client.read_acl("policy", "each-admin"),),
    "gateway": (*_SERVICES, _MESH, _may("service", "write", "hms-gateway")),
    "egress": (*_SERVICES, _PROVIDER, _may("service", "write", "hms-egress"), _may("service", "write", "receipt-out")),
    "registry": (*_SERVICES, _MESH),
    "rollouts": (*_SERVICES, _MESH, *_LOCKS, *_OWN),
}
"""What the commands of a role, or the job that has it, ask of Consul."""


@pytest.mark.parametrize("role", _policies("consul"))
def test_consul(role: str, strict_consul: Consul) -> None:
    owner = strict_consul.client()
    seen = (
        gateway_entry(Gateway(name="seen-gate")).body,
        {**entry("http-route", name="seen-svc", routes=PUBLIC), "Name": "seen-route"},
        {"Kind": "jwt-provider", "Name": "seen-provider", "Issuer": "x", "JSONWebKeySet": {"Local": {"JWKS": _KEYS}}},
    )
    for body in seen:
        if owner.read_entry(str(body["Kind"]), str(body["Name"])) is None:
            owner.write_entry(body, 0)
    owner.kv_put("hms-nomad/seen", b"x")

    def refused(text: str) -> str:
        texts = [text] if role not in BESIDE else [text, read_policy("consul", BESIDE[role], SETTINGS).text]
        names = [f"each-{next(_NUMBER)}" for _ in texts]
        for name, rules in zip(names, texts, strict=True):
            owner.write_acl("policy", {"Name": name, "Rules": rules})
        token = strict_consul.http("PUT", "/v1/acl/token", {"Policies": [{"Name": name} for name in names]})
        client = strict_consul.client(token["SecretID"])
        return _refusal([lambda check=check: check(client) for check in _CONSUL[role]])

    unneeded = _unneeded(read_policy("consul", role, SETTINGS).text, refused)
    assert not unneeded, unneeded


# ---- Vault ----


def _reads(client: VaultClient) -> None:
    name = f"hms-svc-default.receipt.{next(_NUMBER)}"
    client.read(f"auth/jwt-nomad/role/{name}")
    client.read_policy(name)
    client.read(f"pki/roles/{name}")


def _keeps_roles(client: VaultClient) -> None:
    name = f"hms-svc-default.receipt.{next(_NUMBER)}"
    role = {"role_type": "jwt", "bound_audiences": ["vault.io"], "user_claim": "sub", "token_policies": [name]}
    bodies: Mapping[str, Mapping[str, object]] = {
        f"auth/jwt-nomad/role/{name}": role,
        f"pki/roles/{name}": {"allowed_domains": ["receipt"]},
    }
    for path, body in bodies.items():
        client.read(path)
        client.write(path, body)
        client.write(path, body)
        client.delete(path)
    client.read_policy(name)
    client.write_policy(name, 'path "secret/data/receipt" { capabilities = ["read"] }')
    client.delete_policy(name)
    for listed in ("auth/jwt-nomad/role", "pki/roles", "sys/policies/acl"):
        client.list_keys(listed)


def _wanted(jwks_url: str) -> list[BaseObject]:
    """What bootstrap makes in Vault, with a gateway that has TLS."""
    texts = [
        RoleText(one.server, one.role, read_policy(one.server, one.role, SETTINGS).text) for one in list_policies()
    ]
    facts = Facts(jwks_url, "", nomad_acl=False, consul_acl=False, vault=True, allows_by_default=False)
    platform = Platform(gateway=Gateway(tls=GatewayTls(names=("receipt.gov",))))
    return [one for one in foundation(platform, facts, texts) if one.server == "vault"]


def _lays_a_foundation(client: VaultClient, wanted: Sequence[BaseObject]) -> None:
    for one in wanted:
        write_in_vault(client, one, read_in_vault(client, one))
    for one in wanted:
        if one.kind in ("vault mount", "vault role"):
            write_in_vault(client, one, Stored(one.body, ours=True))
    client.create_token([CONNECT_POLICY], 3600)
    client.delete("sys/mounts/connect-intermediate-2")
    assert not holds_secrets(client, KV_MOUNT)
    for one in reversed(wanted):
        delete_in_vault(client, one)


@pytest.mark.parametrize("role", _policies("vault"))
def test_vault(role: str, empty_vault: Vault, strict_nomad: Nomad) -> None:
    root = empty_vault.client()
    wanted = _wanted(f"{strict_nomad.address}/.well-known/jwks.json")
    checks: Mapping[str, Sequence[Check]] = {
        "viewer": (lambda client: client.own_token(),),
        "planner": (_reads,),
        "deployer": (lambda client: client.own_token(), _keeps_roles),
        "admin": (lambda client: _lays_a_foundation(client, wanted),),
    }
    if role != "admin":
        root.write("sys/auth/jwt-nomad", {"type": "jwt"})
        root.write("sys/mounts/pki", {"type": "pki"})

    def refused(text: str) -> str:
        if role == "admin":
            for one in reversed(wanted):
                if one.kind in ("vault mount", "vault login", "vault policy"):
                    delete_in_vault(root, one)
        root.write_policy("each", text)
        made = empty_vault.http("POST", "auth/token/create", {"policies": ["each"], "no_default_policy": True})
        client = empty_vault.client(made["auth"]["client_token"])
        # A token with policies that one does not have is refused as a wrong request.
        return _refusal([lambda check=check: check(client) for check in checks[role]], harmless=())

    unneeded = _unneeded(read_policy("vault", role, SETTINGS).text, refused)
    assert not unneeded, unneeded
