"""What Consul answers, as plain values: only the fields that we read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.clients.snapshot import Snapshot as Snapshot  # noqa: PLC0414 - offered here too


class ConsulAgent(Struct, frozen=True):
    """The agent that answers. ``supported_envoy`` are the Envoy versions it knows; a port is 0 when it is closed.

    ``allows_by_default`` says whether the mesh lets requests through of which no intention speaks, ``mesh`` whether
    there is one, ``acl`` whether it asks for tokens. ``dns_addresses`` are like ``udp://127.0.0.1:8600``.
    """

    version: str
    datacenter: str
    node: str
    supported_envoy: tuple[str, ...]
    grpc_port: int
    grpc_tls_port: int
    allows_by_default: bool = True
    dns_addresses: tuple[str, ...] = ()
    mesh: bool = True
    acl: bool = False


class Condition(Struct, frozen=True):
    """What Consul's controller found about a gateway or a route.

    ``type`` is Accepted, Bound, ResolvedRefs or Conflicted; ``about`` names the listener or gateway that it speaks of,
    empty for the entry itself.
    """

    type: str
    true: bool
    reason: str
    message: str
    about: str


class StoredEntry(Struct, frozen=True):
    """A config entry as stored; ``body`` has no indexes, hash or status, which are the server's own.

    ``conditions`` are the status of gateways and routes; other kinds have none.
    """

    kind: str
    name: str
    body: Mapping[str, Any]
    modify_index: int
    conditions: tuple[Condition, ...] = ()


class Check(Struct, frozen=True):
    """One health check of an instance or of its node; ``status`` is passing, warning or critical.

    ``service_id`` is the instance's id and ``service`` its service's name, both empty for a check of the node.
    """

    id: str
    name: str
    status: str
    output: str
    service_id: str = ""
    node: str = ""
    service: str = ""


class Instance(Struct, frozen=True):
    """A registered instance of a service; ``status`` is the worst of its checks."""

    id: str
    service: str
    node: str
    address: str
    port: int
    meta: Mapping[str, str]
    tags: tuple[str, ...]
    status: str
    checks: tuple[Check, ...]


class CallingSidecar(Struct, frozen=True):
    """A sidecar, and how Consul has it treat each service that it was told to call.

    ``upstreams`` are settings in Consul's own words by the service's name: what the sidecar's registration says, and
    what config entries add to it.
    """

    instance: Instance
    upstreams: Mapping[str, Mapping[str, Any]]


class ExternalService(Struct, frozen=True):
    """An instance outside the mesh; ``node`` is a name for its place, which the catalog shows as a node of its own."""

    node: str
    address: str
    id: str
    service: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = msgspec.field(default_factory=dict)


class Intention(Struct, frozen=True):
    """May ``source`` connect to ``destination``?

    ``action`` is allow or deny, or empty where ``permissions`` decide by path, header and method, in Consul's own form.
    """

    source: str
    destination: str
    action: str
    permissions: tuple[Mapping[str, Any], ...]
    description: str
    precedence: int
    modify_index: int


class AclToken(Struct, frozen=True):
    """A token without its secret: the names of its policies and roles, and when it ends ("" when it does not)."""

    accessor_id: str
    description: str
    policies: tuple[str, ...]
    roles: tuple[str, ...]
    expires: str


class AclRight(Struct, frozen=True):
    """A right such as service:write on one name; ``segment`` is the name, "" for rights without one (mesh, operator).

    For the right on every name that begins with something, ask about such a name.
    """

    resource: str
    access: str
    segment: str = ""


@dataclass(frozen=True, slots=True)
class LeafCertificate:
    """A service's certificate in the mesh, in PEM, with its key, which never shows in a ``repr``."""

    service: str
    spiffe_id: str
    serial_number: str
    certificate_pem: str
    key_pem: str = field(repr=False)
    valid_after: str
    valid_before: str


class CaRoot(Struct, frozen=True):
    """A root certificate of the mesh, in PEM; sidecars trust all, leaves are signed by the ``active`` one.

    ``intermediates`` in PEM stand between it and the leaves, the last one signs them: its key is ``signing_key_id``.
    """

    id: str
    name: str
    active: bool
    pem: str
    trust_domain: str
    not_after: str
    intermediates: tuple[str, ...] = ()
    signing_key_id: str = ""


@dataclass(frozen=True, slots=True)
class CaConfiguration:
    """The mesh's certificate authority: ``provider`` is consul, vault or aws-pca."""

    provider: str
    config: Mapping[str, Any] = field(repr=False)
    modify_index: int


class KvPair(Struct, frozen=True):
    """A key of the store; ``session`` holds its lock ("" when nobody does)."""

    key: str
    value: bytes
    modify_index: int
    session: str


@dataclass(frozen=True, slots=True)
class KvStep:
    """One step of a transaction on keys: ``verb`` is that of Consul's API, made by the functions below."""

    verb: str
    key: str
    value: bytes = field(default=b"", repr=False)
    index: int = 0
    session: str = ""


def set_key(key: str, value: bytes) -> KvStep:
    """Write a key in any case."""
    return KvStep("set", key, value)


def swap_key(key: str, value: bytes, index: int) -> KvStep:
    """Write a key if its index still is ``index`` (0: it must not exist)."""
    return KvStep("cas", key, value, index)


def drop_key(key: str, index: int) -> KvStep:
    """Delete a key if its index still is ``index``; one that is gone already is no reason to refuse."""
    return KvStep("delete-cas", key, index=index)


def take_lock(key: str, value: bytes, session: str) -> KvStep:
    """Write a key and take its lock for a session, if no other session has it."""
    return KvStep("lock", key, value, session=session)


def drop_lock(key: str, session: str) -> tuple[KvStep, KvStep]:
    """Delete a key if a session has its lock."""
    return KvStep("check-session", key, session=session), KvStep("delete", key)


def list_keys(prefix: str) -> KvStep:
    """Read all keys that start with ``prefix``."""
    return KvStep("get-tree", prefix)


class Transaction(Struct, frozen=True):
    """What came of a transaction: all of its steps were done, or none.

    ``pairs`` are what was read, and what was written, the latter without values. ``refused`` are the places (from 0) of
    the steps that a moved index or another session forbade; nothing was done where there are any.
    """

    pairs: tuple[KvPair, ...] = ()
    refused: tuple[int, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the steps were done."""
        return not self.refused

    def index_of(self, key: str) -> int:
        """The index that a key was written with. Raises KeyError for one that was not."""
        for pair in self.pairs:
            if pair.key == key:
                return pair.modify_index
        raise KeyError(key)


class SessionInfo(Struct, frozen=True):
    """A session, which locks live on; times are in seconds."""

    id: str
    name: str
    node: str
    behavior: str
    ttl_seconds: float
    lock_delay_seconds: float
