"""Roles -> the rights that each needs, by server, as far as they can be asked for without changing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from hms_nomad.clients.consul_types import AclRight
from hms_nomad.doctor.finding import Section, SectionResult, finding

_READS = (
    AclRight("service", "read", "hms-doctor"),
    AclRight("node", "read", "hms-doctor"),
    AclRight("agent", "read", "hms-doctor"),
    AclRight("key", "read", "hms-nomad/doctor"),
    AclRight("session", "read", "hms-doctor"),
    AclRight("mesh", "read"),
)
CONSUL: Mapping[str, Sequence[AclRight]] = {
    "viewer": _READS,
    "planner": _READS,
    "deployer": (
        *_READS,
        AclRight("key", "write", "hms-nomad/doctor"),
        AclRight("session", "write", "hms-doctor"),
        AclRight("service", "write", "hms-operator-doctor"),
    ),
    "operator": (
        *_READS,
        AclRight("key", "write", "hms-nomad/doctor"),
        AclRight("session", "write", "hms-doctor"),
        AclRight("mesh", "write"),
        AclRight("operator", "write"),
    ),
}
"""What each role asks of Consul."""

VAULT: Mapping[str, Mapping[str, str]] = {
    "viewer": {},
    "planner": {"auth/jwt-nomad/role/hms-svc-doctor": "read", "sys/policies/acl/hms-svc-doctor": "read"},
    "deployer": {"auth/jwt-nomad/role/hms-svc-doctor": "update", "sys/policies/acl/hms-svc-doctor": "update"},
    "operator": {},
}
"""What each role asks of Vault: path to capability."""

ROLES = tuple(CONSUL)


class RightFacts(Struct, frozen=True):
    """What a role asks for and the tokens lack, in words, by server; ``asked`` counts what was asked for."""

    role: str
    asked: int
    missing: Mapping[str, Sequence[str]]
    not_run: tuple[str, ...] = ()


def service_rights(service: str) -> tuple[AclRight, ...]:
    """What deploying a service of this name asks of Consul beside the role's other rights."""
    return (AclRight("service", "write", service), AclRight("intention", "write", service))


def judge_rights(facts: RightFacts) -> SectionResult:
    """What the tokens lack for the role."""
    found = tuple(
        finding(
            "D401",
            server,
            f"a {facts.role} needs {', '.join(rights)}",
            f"give the token the policy of: hms-nomad policies show {facts.role} --server {server}",
        )
        for server, rights in facts.missing.items()
        if rights
    )
    return SectionResult(Section.RIGHTS, facts.asked, found, facts.not_run)
