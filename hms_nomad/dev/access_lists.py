"""A secure stack's servers -> the tokens that its agents and its developer work with; each step looks first.

The developer's tokens have the policies of the role operator, as they ship, and no more. What only a management token
may do is left to the context whose name ends in ``-admin``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import ConflictError, DeniedError, InvalidRequestError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_acl import NomadPolicy
from hms_nomad.clients.vault import VaultClient
from hms_nomad.clients.vault_operator import VaultOperator
from hms_nomad.compile.desired import OWNER_MARK
from hms_nomad.dev.consul_agent import consul_client
from hms_nomad.dev.nomad_agent import nomad_client
from hms_nomad.dev.security import Security
from hms_nomad.dev.state import ServerRecord
from hms_nomad.platform.jobspecs import read_policy

SETTINGS = {"namespace": "default", "services": "", "gateway": "hms-gateway", "egress": "hms-egress"}
"""What the shipped policies are filled in with on a stack: one namespace, and services of any name."""

CONSUL_ROLES = ("operator", "publisher")
"""The policies of the developer's token for Consul."""

_AGENT_POLICY = "hms-dev-agent"
_NOMAD_POLICY = "hms-dev-nomad"
# What an agent needs to say who it is, and to answer for services by DNS.
_AGENT_RULES = """
node_prefix "" { policy = "write" }
service_prefix "" { policy = "read" }
"""
# What Nomad's agent needs to register what runs; instances log in by their own identity
# (https://developer.hashicorp.com/nomad/docs/secure/acl/consul).
_NOMAD_RULES = """
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "" { policy = "write" }
acl = "write"
mesh = "write"
"""
_TOKEN_PERIOD_SECONDS = 365 * 24 * 3600


def grant_in_consul(server: ServerRecord, security: Security) -> bool:
    """Make the tokens of the agents and of the developer; False when all are there."""
    with contextlib.closing(consul_client(server, security.token("consul-management"))) as admin:
        rules = {_AGENT_POLICY: _AGENT_RULES, _NOMAD_POLICY: _NOMAD_RULES}
        rules |= {f"hms-dev-{role}": read_policy("consul", role, SETTINGS).text for role in CONSUL_ROLES}
        tokens = {
            "consul-agent": (_AGENT_POLICY,),
            "consul-nomad": (_NOMAD_POLICY,),
            "consul": tuple(f"hms-dev-{role}" for role in CONSUL_ROLES),
        }
        lacking = {name: given for name, given in tokens.items() if not _known(server, security.token(name))}
        if not lacking:
            return False
        _write_policies(admin, {name: rules[name] for given in lacking.values() for name in given})
        for name, given in lacking.items():
            admin.create_acl_token(security.token(name), f"stack: {name}", given)
    return True


def grant_in_nomad(server: ServerRecord, security: Security) -> bool:
    """Make the token of the developer; False when it is there."""
    if (own := security.stored("nomad")) and _accepted(server, own):
        return False
    with contextlib.closing(nomad_client(server, security.token("nomad-management"))) as admin:
        policy = NomadPolicy("hms-dev-operator", OWNER_MARK, read_policy("nomad", "operator", SETTINGS).text)
        admin.write_acl_policy(policy)
        security.keep("nomad", admin.create_acl_token("stack: developer", [policy.name]))
    return True


def grant_in_vault(vault: VaultOperator, server: ServerRecord, security: Security) -> bool:
    """Make the token of the developer; False when it is there."""
    if own := security.stored("vault"):
        where = Connection(server.address, token=own, ca_file=server.ca_file or None)
        with contextlib.closing(VaultClient(where)) as client, contextlib.suppress(DeniedError):
            client.own_token()
            return False
    policy = "hms-dev-deployer"
    vault.write_policy(policy, f"# {OWNER_MARK}\n{read_policy('vault', 'deployer', SETTINGS).text}")
    security.keep("vault", vault.create_token([policy], _TOKEN_PERIOD_SECONDS))
    return True


def lacks_access_lists(server: ServerRecord, security: Security) -> str:
    """What keeps a Consul that has a leader from taking its management token, or nothing: it makes it a bit later."""
    known = _known(server, security.token("consul-management"))
    return "" if known else "its access lists are not ready yet"


def lacks_first_token(server: ServerRecord, security: Security) -> str:
    """Give Nomad its management token, where it has none; what keeps it from taking one, or nothing."""
    secret = security.token("nomad-management")
    if _accepted(server, secret):
        return ""
    with contextlib.closing(nomad_client(server)) as client, contextlib.suppress(ConflictError, InvalidRequestError):
        client.bootstrap_acl(secret)
    return "" if _accepted(server, secret) else "it takes no first token"


def _known(server: ServerRecord, secret: str) -> bool:
    with contextlib.closing(consul_client(server, secret)) as client:
        try:
            return client.own_token() is not None
        except DeniedError:
            return False


def _accepted(server: ServerRecord, secret: str) -> bool:
    with contextlib.closing(nomad_client(server, secret)) as client:
        return _nomad_knows(client)


def _nomad_knows(client: NomadClient) -> bool:
    try:
        return client.own_token() is not None
    except DeniedError:
        return False


def _write_policies(admin: ConsulClient, rules: Mapping[str, str]) -> None:
    for name, text in rules.items():
        stored = admin.read_acl("policy", name)
        body = {"Name": name, "Description": OWNER_MARK, "Rules": text}
        admin.write_acl("policy", body, stored.id if stored else "")
