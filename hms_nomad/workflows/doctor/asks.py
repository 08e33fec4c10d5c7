"""Session -> what the doctor judges of the servers and their nodes; every fault becomes part of the answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError, ServerError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.nomad_types import Allocation, Node
from hms_nomad.clients.vault import VaultClient, VaultHealth
from hms_nomad.doctor.servers import ServerFacts, Token, seconds_until
from hms_nomad.workflows.fleet import our_jobs, side_by_side
from hms_nomad.workflows.session import Session

_GLOBAL_MANAGEMENT = "global-management"
_SETTLED_SECONDS = 20.0


def ask_nomad(session: Session) -> ServerFacts:
    """Nomad's leader, version, clock and view of our token."""
    nomad = session.nomad

    def token() -> Token | None:
        own = nomad.own_token()
        return Token(own.management, seconds_until(own.expires, time.time())) if own else None

    return _asked("nomad", nomad, token, nomad.version)


def ask_consul(session: Session) -> ServerFacts:
    """Consul's leader, version, clock and view of our token."""
    consul = session.consul

    def token() -> Token | None:
        own = consul.own_token()
        return Token(_GLOBAL_MANAGEMENT in own.policies, seconds_until(own.expires, time.time())) if own else None

    return _asked("consul", consul, token, lambda: consul.agent().version)


def ask_vault(session: Session) -> ServerFacts | None:
    """Vault's seal, version, clock and view of our token; None where the platform has no Vault."""
    vault = session.vault
    if vault is None:
        return None
    try:
        health = vault.health()
        offset = _offset(vault)
    except ServerError as error:
        return ServerFacts("vault", vault.address, error)
    if health.sealed or not health.initialized:
        return ServerFacts("vault", vault.address, version=health.version, offset=offset, health=health)
    return _vault_token(vault, health, offset)


def unmeasured(session: Session, nodes: Sequence[Node]) -> frozenset[str]:
    """Ids of nodes that measure nothing: by the configuration of the agent that answers, and by an allocation each.

    Raises the errors of ``hms_nomad.clients.errors``.
    """
    found = set()
    agent = session.nomad.agent()
    if agent.client and not agent.publishes_allocations:
        place = session.nomad.address.rpartition("/")[2]
        own = [node.id for node in nodes if node.attributes.get("unique.advertise.address") == place]
        found.update(own or [node.id for node in nodes if len(nodes) == 1])
    samples: dict[str, Allocation] = {}
    for job in our_jobs(session):
        if {node.id for node in nodes} <= samples.keys():
            break
        for one in session.nomad.job_allocations(job.id).value:
            if one.client_status == "running" and _settled(one):
                samples.setdefault(one.node_id, one)
    stats = side_by_side(_memory(session.nomad), [one.id for one in samples.values()])
    return frozenset(found | {node for node, used in zip(samples, stats, strict=True) if used == 0})


def _memory(nomad: NomadClient) -> Callable[[str], int | None]:
    def ask(allocation: str) -> int | None:
        try:
            return nomad.allocation_stats(allocation).memory_bytes
        except ServerError:
            return None

    return ask


def _settled(allocation: Allocation) -> bool:
    """Whether a measurement must be there by now."""
    started = [event.time_ns for task in allocation.tasks.values() for event in task.events if event.type == "Started"]
    return bool(started) and time.time() - max(started) / 1e9 > _SETTLED_SECONDS


def _offset(client: NomadClient | ConsulClient | VaultClient) -> float:
    """Seconds that a server's clock is ahead of ours; an answer tells whole seconds and was made before we have it."""
    before = time.time()
    told = client.clock()
    after = time.time()
    if told > after:
        return told - after
    return min(0.0, told + 1 - before)


def _asked(
    name: str, client: NomadClient | ConsulClient, own_token: Callable[[], Token | None], version: Callable[[], str]
) -> ServerFacts:
    """The facts of a server with a leader; its version is "" where it does not say."""
    try:
        leader = client.leader() is not None
        offset = _offset(client)
    except ServerError as error:
        return ServerFacts(name, client.address, error)
    if not leader:
        return ServerFacts(name, client.address, leader=False, offset=offset)
    token, refused, told = None, None, ""
    try:
        token = own_token()
    except DeniedError as error:
        refused = error
    except ServerError as error:
        return ServerFacts(name, client.address, error, offset=offset)
    with contextlib.suppress(ServerError):
        told = version()
    return ServerFacts(name, client.address, None, leader, told, offset, token, refused)


def _vault_token(vault: VaultClient, health: VaultHealth, offset: float) -> ServerFacts:
    token, refused = None, None
    if vault.has_token:
        try:
            own = vault.own_token()
            ends = own.ttl_seconds if own.ttl_seconds and not own.renewable else None
            token = Token("root" in own.policies, ends)
        except DeniedError as error:
            refused = error
        except ServerError as error:
            return ServerFacts("vault", vault.address, error, version=health.version)
    return ServerFacts("vault", vault.address, None, None, health.version, offset, token, refused, health)
