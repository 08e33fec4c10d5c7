"""Objects of the foundation -> what the servers hold of each, and the calls that write and remove one.

None of these servers' objects but config entries can be written by compare-and-set; each is read again right before it
is written, and must still be what the plan saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.apply.authority import Servers, leave_authority, read_authority, vault_of, write_authority
from hms_nomad.apply.foundation_vault import delete_in_vault, read_in_vault, write_in_vault
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_acl import AclKind
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_acl import NomadPolicy
from hms_nomad.compile.desired import OWNER, OWNER_KEY, OWNER_MARK
from hms_nomad.compile.foundation import CONNECT_KIND, CONSUL_LOGIN, BaseObject
from hms_nomad.plan.groundwork import Stored

_ACL_KINDS: Mapping[str, AclKind] = {
    "consul policy": "policy",
    "consul role": "role",
    "consul login": "auth-method",
}
_RULE = "consul binding rule"


def read_object(servers: Servers, wanted: BaseObject) -> Stored | None:
    """What is stored under the name of ``wanted``, in the same words, or None."""
    kind, name = wanted.kind, wanted.name
    if kind == CONNECT_KIND:
        return read_authority(servers.consul)
    if kind in _ACL_KINDS:
        return _read_acl(servers.consul, _ACL_KINDS[kind], name)
    if kind == _RULE:
        rules = servers.consul.binding_rules(CONSUL_LOGIN)
        return next(
            (Stored(one.body, ours=True, id=one.id) for one in rules if one.name == wanted.body["Description"]), None
        )
    if kind == "consul entry":
        entry_kind, _, entry_name = name.partition("/")
        entry = servers.consul.read_entry(entry_kind, entry_name)
        ours = entry is not None and (entry.body.get("Meta") or {}).get(OWNER_KEY) == OWNER
        return Stored(entry.body, ours, index=entry.modify_index) if entry else None
    if kind == "nomad policy":
        return _read_nomad(servers.nomad, name)
    return read_in_vault(vault_of(servers), wanted)


def write_object(servers: Servers, wanted: BaseObject, stored: Stored | None) -> None:
    """Create an object, or replace what is stored of it."""
    kind = wanted.kind
    if kind == CONNECT_KIND:
        write_authority(servers, wanted)
    elif kind in _ACL_KINDS:
        servers.consul.write_acl(_ACL_KINDS[kind], wanted.body, stored.id if stored else "")
    elif kind == _RULE:
        servers.consul.write_binding_rule(wanted.body, stored.id if stored else "")
    elif kind == "consul entry":
        servers.consul.write_entry(wanted.body, stored.index if stored else 0)
    elif kind == "nomad policy":
        body = wanted.body
        policy = NomadPolicy(wanted.name, body["Description"], body["Rules"], body["Namespace"], body["JobID"])
        servers.nomad.write_acl_policy(policy)
    else:
        write_in_vault(vault_of(servers), wanted, stored)


def delete_object(servers: Servers, wanted: BaseObject, stored: Stored) -> None:
    """Remove an object of ours."""
    kind = wanted.kind
    if kind == CONNECT_KIND:
        leave_authority(servers)
    elif kind in _ACL_KINDS:
        servers.consul.delete_acl(_ACL_KINDS[kind], stored.id)
    elif kind == _RULE:
        servers.consul.delete_binding_rule(stored.id)
    elif kind == "consul entry":
        entry_kind, _, entry_name = wanted.name.partition("/")
        servers.consul.delete_entry(entry_kind, entry_name, stored.index)
    elif kind == "nomad policy":
        servers.nomad.delete_acl_policy(wanted.name)
    else:
        delete_in_vault(vault_of(servers), wanted)


def _read_acl(consul: ConsulClient, kind: AclKind, name: str) -> Stored | None:
    found = consul.read_acl(kind, name)
    if found is None:
        return None
    return Stored(_plain_acl(found.body), OWNER_MARK in str(found.body.get("Description")), found.id)


def _plain_acl(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Links to policies by name alone: their ids are the server's."""
    if "Policies" not in body:
        return body
    return {**body, "Policies": [{"Name": one["Name"]} for one in body["Policies"] or ()]}


def _read_nomad(nomad: NomadClient, name: str) -> Stored | None:
    policy = nomad.read_acl_policy(name)
    if policy is None:
        return None
    body = {
        "Description": policy.description,
        "Rules": policy.rules,
        "Namespace": policy.namespace,
        "JobID": policy.job,
    }
    return Stored(body, OWNER_MARK in policy.description)
