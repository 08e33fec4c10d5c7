"""What each server answered -> what is wrong with it: reach, trust, leader, seal, version, token, clock."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from hms_nomad.clients.errors import DeniedError, ServerError, UnknownOutcomeError
from hms_nomad.clients.vault import VaultHealth
from hms_nomad.doctor.finding import Finding, Section, SectionResult, finding

OLDEST: Mapping[str, tuple[int, ...]] = {"nomad": (1, 8, 0), "consul": (1, 17, 0), "vault": (1, 13, 0)}
"""The oldest releases that answer all that is asked of them."""

SAFE_NOMAD = (2, 0, 4)
"""Before it, a job could leave its container's limits (CVE-2026-14891, CVE-2026-14896; Nomad's CHANGELOG)."""

_CHECKS_EACH = 6
_MOST_SKEW_SECONDS = 3.0
_SHORT_LIFE_SECONDS = 300.0


class Token(Struct, frozen=True):
    """What a server says of our token; ``seconds`` is None for one that does not end. ``all_rights``: root."""

    all_rights: bool
    seconds: float | None


class ServerFacts(Struct, frozen=True):
    """One server. ``error`` is why it could not be asked; ``offset`` how many seconds its clock is ahead of ours.

    ``leader`` is None where the question makes no sense; ``token`` None where it knows none; ``token_error`` is why it
    does not take ours.
    """

    server: str
    address: str
    error: ServerError | None = None
    leader: bool | None = None
    version: str = ""
    offset: float | None = None
    token: Token | None = None
    token_error: DeniedError | None = None
    health: VaultHealth | None = None


def judge_servers(servers: Iterable[ServerFacts], *, development: bool) -> SectionResult:
    """What is wrong with the servers themselves. A ``development`` stack may be used with all rights."""
    known = tuple(servers)
    findings = [found for one in known for found in _judge(one, development=development)]
    findings += _clocks(known)
    return SectionResult(Section.SERVERS, _CHECKS_EACH * len(known), tuple(findings))


def reach_code(error: ServerError) -> str:
    """The code of a server that could not be asked, by what its client said."""
    detail = error.detail.lower()
    causes = (
        ("certificate is not trusted", "D103"),
        ("client certificate", "D104"),
        ("does not speak https", "D105"),
        ("speaks https only", "D105"),
        ("no encryption could be agreed", "D103"),
        ("host name cannot be resolved", "D102"),
        ("no answer in time", "D106"),
        ("web page", "D118"),
        ("cannot be read", "D118"),
        ("no leader", "D110"),
        ("no cluster leader", "D110"),
        ("cannot pass the request on", "D110"),
    )
    return next((code for words, code in causes if words in detail), "D101")


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version such as "1.20.1+ent"; empty for what is none."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()


def seconds_until(moment: str, now: float) -> float | None:
    """Seconds from ``now`` to a time in ISO 8601; None for none. Nanoseconds and a Z are understood."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", moment)
    if not match or moment.startswith("0001"):
        return None
    offset = re.search(r"([+-]\d\d:\d\d)$", moment)
    return datetime.datetime.fromisoformat(match.group(1) + (offset.group(1) if offset else "+00:00")).timestamp() - now


def _judge(one: ServerFacts, *, development: bool) -> list[Finding]:
    name = one.server
    if isinstance(one.error, DeniedError):
        return [finding("D111", name, one.error.detail)]
    if one.error is not None and not isinstance(one.error, UnknownOutcomeError):
        return [finding(reach_code(one.error), name, f"{one.address}: {one.error.detail}")]
    if one.health is not None and not one.health.initialized:
        return [finding("D113", name, f"{one.address} has no keys yet")]
    if one.health is not None and one.health.sealed:
        return [finding("D112", name, f"{one.address} answers nothing but that it is sealed")]
    found = []
    if one.leader is False:
        found.append(finding("D110", name, f"{one.address} knows of no leader"))
    version = version_of(one.version)
    if version and version < OLDEST[name] and not _openbao(one):
        oldest = ".".join(map(str, OLDEST[name]))
        found.append(finding("D114", name, f"it is {one.version}, and {oldest} is the oldest that does"))
    elif name == "nomad" and version and version < SAFE_NOMAD:
        detail = f"it is {one.version}; a job can leave its container's limits before {'.'.join(map(str, SAFE_NOMAD))}"
        found.append(finding("D119", name, detail))
    if one.token_error is not None:
        found.append(finding("D111", name, one.token_error.detail))
    if one.token is not None:
        found += _token(one, one.token, development=development)
    return found


def _openbao(one: ServerFacts) -> bool:
    """OpenBao counts its own versions from 2.0."""
    return one.server == "vault" and version_of(one.version)[:1] == (2,)


def _token(one: ServerFacts, token: Token, *, development: bool) -> list[Finding]:
    found = []
    if token.all_rights and not development:
        found.append(finding("D117", one.server, "the token that is used may do everything"))
    if token.seconds is not None and token.seconds < _SHORT_LIFE_SECONDS:
        found.append(finding("D115", one.server, f"it ends in {max(0, round(token.seconds))} s"))
    return found


def _clocks(servers: tuple[ServerFacts, ...]) -> list[Finding]:
    return [
        finding(
            "D116",
            one.server,
            f"its clock is {abs(one.offset):.0f} s {'ahead of' if one.offset > 0 else 'behind'} this machine's",
        )
        for one in servers
        if one.offset is not None and abs(one.offset) > _MOST_SKEW_SECONDS
    ]
