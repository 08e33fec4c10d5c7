"""Platform -> what a cluster needs before services can be deployed to it: ways in, policies and authorities.

Pure, like everything here: what stands in files or has to be asked for comes in as ``Facts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hms_nomad.compile.desired import OWNER, OWNER_KEY, OWNER_MARK
from hms_nomad.compile.secrets import OWN_TOKEN, PKI_KIND, POLICY_KIND, ROLE_KIND, jwt_role, policy_text
from hms_nomad.platform.model import Platform
from hms_nomad.spec.duration import seconds

VAULT_LOGIN = "jwt-nomad"
"""Mount of the way in by which jobs of Nomad log in to Vault."""

CONSUL_LOGIN = "nomad-workloads"
"""Way in (auth method) by which jobs of Nomad log in to Consul; Nomad's own default name."""

VAULT_AUDIENCE = "vault.io"
CONSUL_AUDIENCE = "consul.io"

KV_MOUNT = "secret"
ROOT_MOUNT = "pki-root"
PKI_MOUNT = "pki"
"""Mount that issues certificates for applications; its own certificate is signed by that of ``ROOT_MOUNT``."""

CONNECT_POLICY = "hms-connect-ca"
_CLAIMS = ("nomad_namespace", "nomad_job_id", "nomad_task", "nomad_service")
_PEOPLE = {
    "nomad": ("viewer", "planner", "deployer", "operator"),
    "consul": ("viewer", "deployer", "publisher", "operator", "admin"),
    "vault": ("viewer", "planner", "deployer", "admin"),
}
_PROXIES = frozenset({"gateway", "egress"})
_YEAR_SECONDS = 365 * 24 * 3600


class Facts(Struct, frozen=True):
    """What decides which objects are wanted.

    ``jwks_url`` is where Consul and Vault fetch the keys by which Nomad signs identities, ``jwks_ca`` the authority of
    that address in PEM ("" for a public one or plain http). ``nomad_acl`` and ``consul_acl`` say whether the servers
    ask for tokens, ``vault`` whether the platform has one, ``allows_by_default`` whether the mesh lets through what no
    intention speaks of. ``vault_address`` and ``vault_ca_file`` are Vault as Consul's servers reach it.
    """

    jwks_url: str
    jwks_ca: str
    nomad_acl: bool
    consul_acl: bool
    vault: bool
    allows_by_default: bool
    vault_address: str = ""
    vault_ca_file: str = ""


class BaseObject(Struct, frozen=True):
    """One object of the foundation: ``kind`` begins with the server's name, ``body`` is in the server's own words."""

    kind: str
    name: str
    body: Mapping[str, Any]

    @property
    def server(self) -> str:
        """nomad, consul or vault."""
        return self.kind.partition(" ")[0]


class RoleText(Struct, frozen=True):
    """A shipped policy, filled in: ``server``, ``role`` and its ``rules``."""

    server: str
    role: str
    rules: str


def foundation(platform: Platform, facts: Facts, policies: Sequence[RoleText]) -> tuple[BaseObject, ...]:
    """Everything that is wanted, in the order in which it is made. ``policies`` are all that ship."""
    texts = {(one.server, one.role): one.rules for one in policies}
    found: list[BaseObject] = []
    if facts.vault:
        found += _vault(facts, texts)
        found += _gateway(platform)
    if facts.consul_acl:
        found += _consul(platform, facts, texts)
    if facts.allows_by_default:
        found.append(_default_deny())
    if facts.nomad_acl:
        found += _nomad(platform, texts)
    return tuple(found)


def job_roles(platform: Platform) -> Mapping[str, tuple[str, ...]]:
    """The platform's own jobs that ask Consul by their identity, with the roles of the policies that each gets."""
    jobs = {
        "gateway": (platform.gateway, ("gateway",)),
        "egress": (platform.egress, ("egress",)),
        "rollouts": (platform.rollouts, ("rollouts", "publisher")),
        "telemetry": (platform.telemetry, ("viewer",)),
        "autoscaler": (platform.autoscaler, ("viewer",)),
    }
    return {section.name: roles for section, roles in jobs.values() if section is not None}


def _vault(facts: Facts, texts: Mapping[tuple[str, str], str]) -> Iterator[BaseObject]:
    yield BaseObject("vault mount", KV_MOUNT, _mount("kv", options={"version": "2"}))
    yield BaseObject("vault mount", ROOT_MOUNT, _mount("pki", seconds=10 * _YEAR_SECONDS))
    yield BaseObject("vault authority", ROOT_MOUNT, {"common_name": "hms-nomad root", "ttl": 10 * _YEAR_SECONDS})
    yield BaseObject("vault mount", PKI_MOUNT, _mount("pki", seconds=5 * _YEAR_SECONDS))
    below = {"common_name": "hms-nomad applications", "ttl": 5 * _YEAR_SECONDS, "signed_by": ROOT_MOUNT}
    yield BaseObject("vault authority", PKI_MOUNT, below)
    yield BaseObject("vault login", VAULT_LOGIN, {"type": "jwt", "description": OWNER_MARK})
    keys = {"jwks_url": facts.jwks_url, "jwks_ca_pem": facts.jwks_ca, "jwt_supported_algs": ["EdDSA", "RS256"]}
    yield BaseObject("vault login keys", VAULT_LOGIN, keys)
    for role in _PEOPLE["vault"]:
        yield BaseObject("vault policy", f"hms-{role}", {"policy": marked(texts["vault", role])})
    yield BaseObject("vault policy", CONNECT_POLICY, {"policy": marked(texts["vault", "connect-ca"])})
    authority = {"Address": facts.vault_address, **CONNECT_PATHS}
    trusted = {"CAFile": facts.vault_ca_file} if facts.vault_ca_file else {}
    yield BaseObject(CONNECT_KIND, "connect", authority | trusted)


def _gateway(platform: Platform) -> Iterator[BaseObject]:
    """What the gateway's job needs to get its certificate, where that comes from the authority for applications.

    An issuer elsewhere, or of another name than the role by which the job logs in, is the operator's.
    """
    gateway = platform.gateway
    if gateway is None or gateway.tls is None:
        return
    mount, _, role = gateway.tls.issuer.partition("/issue/")
    name = gateway.tls.vault_role
    if mount != PKI_MOUNT or role != name:
        return
    rights = {**dict(OWN_TOKEN), gateway.tls.issuer: "update"}
    yield BaseObject(POLICY_KIND, name, {"policy": policy_text(rights)})
    yield BaseObject(ROLE_KIND, f"{VAULT_LOGIN}/role/{name}", jwt_role(platform.namespace, gateway.name, name))
    issuing = {
        "allowed_domains": sorted(gateway.tls.names),
        "allow_bare_domains": True,
        "allow_subdomains": False,
        "allow_localhost": False,
        "allow_ip_sans": False,
        "max_ttl": int(seconds(gateway.tls.ttl)),
    }
    yield BaseObject(PKI_KIND, f"{mount}/roles/{role}", issuing)


CONNECT_KIND = "consul authority"
CONNECT_PATHS = {"RootPKIPath": "connect-root/", "IntermediatePKIPath": "connect-intermediate/"}
"""The mounts of the mesh's authority, which Consul makes itself with a token that may do nothing else."""


def marked(policy: str) -> str:
    """A policy of Vault with our mark in its first line: it has no other place for one."""
    return f"# {OWNER_MARK}\n{policy}"


def _mount(engine: str, *, seconds: int = 0, options: Mapping[str, str] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"type": engine, "description": OWNER_MARK}
    if seconds:
        body["config"] = {"max_lease_ttl": seconds}
    return body | ({"options": dict(options)} if options else {})


def _consul(platform: Platform, facts: Facts, texts: Mapping[tuple[str, str], str]) -> Iterator[BaseObject]:
    jobs = job_roles(platform)
    roles = dict.fromkeys([*_PEOPLE["consul"], *(role for given in jobs.values() for role in given)])
    for role in roles:
        body = {"Name": f"hms-{role}", "Description": OWNER_MARK, "Rules": texts["consul", role]}
        yield BaseObject("consul policy", f"hms-{role}", body)
    for job, given in jobs.items():
        name = f"hms-job-{job}"
        policies = [{"Name": f"hms-{role}"} for role in given]
        yield BaseObject("consul role", name, {"Name": name, "Description": OWNER_MARK, "Policies": policies})
    yield BaseObject("consul login", CONSUL_LOGIN, _consul_login(facts))
    namespace = f'value.nomad_namespace == "{platform.namespace}"'
    # The identity is that of the job, whatever the job calls its service: no job can be a service of another name.
    yield _rule("services", "service", "${value.nomad_job_id}", f'"nomad_service" in value and {namespace}')
    for job, given in jobs.items():
        own = f'{namespace} and value.nomad_job_id == "{job}"'
        # Consul reads what it tells a proxy with the token of the proxy's service, not with that of its task.
        whose = own if _PROXIES.intersection(given) else f'"nomad_service" not in value and {own}'
        yield _rule(job, "role", f"hms-job-{job}", whose)


def _consul_login(facts: Facts) -> dict[str, Any]:
    config: dict[str, Any] = {
        "JWKSURL": facts.jwks_url,
        "JWTSupportedAlgs": ["RS256"],
        "BoundAudiences": [CONSUL_AUDIENCE],
        "ClaimMappings": {name: name for name in _CLAIMS},
    }
    if facts.jwks_ca:
        config["JWKSCACert"] = facts.jwks_ca
    return {"Name": CONSUL_LOGIN, "Type": "jwt", "Description": OWNER_MARK, "Config": config}


def _rule(name: str, bind: str, bound: str, selector: str) -> BaseObject:
    description = f"{OWNER_MARK}; {name}"
    body = {
        "AuthMethod": CONSUL_LOGIN,
        "Description": description,
        "BindType": bind,
        "BindName": bound,
        "Selector": selector,
    }
    return BaseObject("consul binding rule", name, body)


def _default_deny() -> BaseObject:
    body = {
        "Kind": "service-intentions",
        "Name": "*",
        "Meta": {OWNER_KEY: OWNER},
        "Sources": [{"Name": "*", "Action": "deny"}],
    }
    return BaseObject("consul entry", "service-intentions/*", body)


def _nomad(platform: Platform, texts: Mapping[tuple[str, str], str]) -> Iterator[BaseObject]:
    for role in _PEOPLE["nomad"]:
        yield _nomad_policy(f"hms-{role}", texts["nomad", role], "", "")
    for section, role in ((platform.autoscaler, "autoscaler"), (platform.rollouts, "rollouts")):
        if section is not None:
            yield _nomad_policy(f"hms-{role}", texts["nomad", role], platform.namespace, section.name)


def _nomad_policy(name: str, rules: str, namespace: str, job: str) -> BaseObject:
    body = {"Description": OWNER_MARK, "Rules": rules, "Namespace": namespace, "JobID": job}
    return BaseObject("nomad policy", name, body)


def stanzas(facts: Facts) -> Mapping[str, str]:
    """What agents' own files must say, by server; in the language of these files, for the operator to put there."""
    found = {}
    nomad = []
    if facts.consul_acl:
        identity = f'{{\n    aud = ["{CONSUL_AUDIENCE}"]\n    ttl = "1h"\n  }}'
        nomad.append(
            "consul {\n"
            f'  service_auth_method = "{CONSUL_LOGIN}"\n'
            f'  task_auth_method    = "{CONSUL_LOGIN}"\n\n'
            f"  service_identity {identity}\n\n"
            f"  task_identity {identity}\n"
            "}"
        )
    if facts.vault:
        ca_file = f'  ca_file               = "{facts.vault_ca_file}"\n' if facts.vault_ca_file else ""
        nomad.append(
            "vault {\n"
            "  enabled               = true\n"
            f'  address               = "{facts.vault_address}"\n'
            f"{ca_file}"
            f'  jwt_auth_backend_path = "{VAULT_LOGIN}"\n\n'
            f'  default_identity {{\n    aud = ["{VAULT_AUDIENCE}"]\n    ttl = "1h"\n  }}\n'
            "}"
        )
    nomad.append("telemetry {\n  publish_allocation_metrics = true\n  prometheus_metrics         = true\n}")
    found["nomad"] = "\n\n".join(nomad) + "\n"
    found["consul"] = 'connect {\n  enabled = true\n}\n\ndefault_intention_policy = "deny"\n'
    return found
