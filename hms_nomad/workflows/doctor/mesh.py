"""Session -> what the doctor judges of the mesh: also whether its authority signs, and whether DNS answers."""

from __future__ import annotations

import secrets
import socket
import time
from urllib.parse import urlsplit

from hms_nomad.clients.consul_types import ConsulAgent
from hms_nomad.clients.errors import DeniedError, ServerError
from hms_nomad.clients.nomad_types import NomadAgent
from hms_nomad.doctor.finding import SectionResult
from hms_nomad.doctor.mesh import MeshFacts, envoy_of, judge_mesh
from hms_nomad.workflows.mesh.caller import OPERATOR_PREFIX
from hms_nomad.workflows.platform.egress import refusals_now
from hms_nomad.workflows.session import Session

_DNS_SECONDS = 2.0
_HEADER = 12


def examine_mesh(session: Session, nomad: NomadAgent | None) -> SectionResult:
    """What is wrong with the mesh. Raises the errors of ``hms_nomad.clients.errors``."""
    consul = session.consul
    agent = consul.agent()
    if not agent.mesh:
        return judge_mesh(MeshFacts(agent, (), (), (), nomad, None, None, "", time.time()))
    return judge_mesh(
        MeshFacts(
            agent=agent,
            roots=consul.ca_roots(),
            intentions=consul.list_entries("service-intentions"),
            providers=consul.list_entries("jwt-provider"),
            nomad=nomad,
            signing=_signing(session),
            dns=_dns(session, agent),
            envoy=envoy_of(session.platform),
            now=time.time(),
            refusals=_refusals(session),
        )
    )


def _signing(session: Session) -> str | None:
    """Why the authority signs nothing; the agent forgets an identity that nobody asks for after a few minutes."""
    try:
        session.consul.leaf_certificate(f"{OPERATOR_PREFIX}doctor-{secrets.token_hex(3)}")
    except DeniedError:
        return None
    except ServerError as error:
        return f"a certificate was asked for, and refused: {error.detail}"
    return ""


def _refusals(session: Session) -> dict[str, dict[str, str]]:
    """What the platform's gateway and egress refuse right now; one that cannot be asked is named by other sections."""
    names = [proxy.name for proxy in (session.platform.gateway, session.platform.egress) if proxy is not None]
    found = {name: refusals_now(session, name) for name in names}
    return {name: {where: why.reason for where, why in refused.items()} for name, refused in found.items() if refused}


def _dns(session: Session, agent: ConsulAgent) -> str | None:
    """Why Consul's DNS does not answer; one that listens on another machine's loopback is not asked."""
    place = next((urlsplit(one) for one in agent.dns_addresses if one.startswith("udp://")), None)
    if place is None or not place.hostname or not place.port:
        return None
    host = place.hostname
    asked = urlsplit(session.consul.address).hostname or ""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - where it listens, not where we do
        host = asked
    if host.startswith("127.") and not asked.startswith("127.") and asked != "localhost":
        return None
    return ask_dns(host, place.port)


def ask_dns(host: str, port: int) -> str:
    """Why a name server does not answer for ``consul.service.consul``, or nothing (RFC 1035, one question by UDP)."""
    number = secrets.token_bytes(2)
    name = b"".join(bytes([len(part)]) + part for part in (b"consul", b"service", b"consul"))
    question = number + bytes.fromhex("01000001000000000000") + name + bytes.fromhex("0000010001")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as link:
            link.settimeout(_DNS_SECONDS)
            link.connect((host, port))
            link.send(question)
            answer = link.recv(4096)
    except OSError as error:
        return f"{host}:{port} does not answer: {error.strerror or 'nothing came within 2 s'}"
    if len(answer) < _HEADER or answer[:2] != number:
        return f"{host}:{port} answers something that is no DNS"
    code = answer[3] & 0x0F
    return "" if code in (0, 3) else f"{host}:{port} answers with the error {code}"
