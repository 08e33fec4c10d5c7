"""Jobs of the platform, services, and what commands left -> what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from hms_nomad.doctor.finding import Finding, Section, SectionResult, finding
from hms_nomad.doctor.known_answers import decoded

_STATES = {
    "degraded": "D501",
    "stopped": "D501",
    "outdated": "D502",
    "foreign": "D505",
}
_LEFT = {"run": "D701", "lock": "D702", "rollout": "D705"}
_TRACES = 5


class PlatformJobFacts(Struct, frozen=True):
    """A job of the platform: ``state`` as ``platform status`` says it, ``said`` what its instances wrote last."""

    kind: str
    name: str
    state: str
    detail: str
    said: str = ""


class PlatformFacts(Struct, frozen=True):
    """The jobs of the platform. ``scaled`` are services that are to be scaled, ``public`` those with public routes."""

    jobs: Sequence[PlatformJobFacts]
    scaled: Sequence[str] = ()
    public: Sequence[str] = ()


class ServiceFacts(Struct, frozen=True):
    """A service; ``complaints`` are the words of servers and sidecars about its instances, the most telling first."""

    name: str
    state: str
    healthy: int
    desired: int
    complaints: Sequence[str] = ()


class Left(Struct, frozen=True):
    """Something that a command left: ``kind`` is run, lock, rollout, entry or right; ``remedy`` the way to mend it."""

    kind: str
    service: str
    what: str
    remedy: str


class TraceFacts(Struct, frozen=True):
    """What earlier commands left, and services that were changed by hand, with what was changed."""

    left: Sequence[Left] = ()
    drifted: Mapping[str, str] = msgspec.field(default_factory=dict)


def judge_platform(facts: PlatformFacts) -> SectionResult:
    """What is wrong with the platform's own jobs; one that nobody needs may be missing."""
    found = []
    for job in facts.jobs:
        if code := _STATES.get(job.state):
            cause = decoded(job.said) if job.said else "D600"
            detail = f"{job.name} is {job.state}: {job.detail}"
            if code == "D501" and cause not in ("D600", "D614"):
                found.append(finding(cause, job.name, f"{detail}; it said: {_short(job.said)}"))
            else:
                found.append(finding(code, job.name, detail))
    absent = {job.kind for job in facts.jobs if job.state in ("not installed", "stopped")}
    needs = (("autoscaler", "D503", facts.scaled), ("gateway", "D504", facts.public))
    for kind, code, users in needs:
        if users and kind in absent:
            found.append(finding(code, kind, f"{_some(users)} would need it"))
    return SectionResult(Section.PLATFORM, len(facts.jobs) + len(needs), tuple(found))


def judge_services(services: Sequence[ServiceFacts]) -> SectionResult:
    """What is wrong with services, by what was said about their instances."""
    found: list[Finding] = []
    for one in services:
        found += _judge(one)
    return SectionResult(Section.SERVICES, len(services), tuple(found))


def judge_traces(facts: TraceFacts) -> SectionResult:
    """What earlier commands left behind, and what was changed past them."""
    found: dict[tuple[str, str], Finding] = {}
    for one in facts.left:
        code = _LEFT.get(one.kind, "D703")
        before = found.get((code, one.service))
        detail = f"{before.detail}, {one.what}" if before else one.what
        found[code, one.service] = finding(code, one.service, detail, one.remedy)
    drifted = [finding("D704", service, what) for service, what in facts.drifted.items()]
    return SectionResult(Section.TRACES, _TRACES, (*found.values(), *drifted))


def _judge(one: ServiceFacts) -> list[Finding]:
    """One finding for each cause, in the words that showed it first."""
    causes: dict[str, str] = {}
    for text in one.complaints:
        causes.setdefault(decoded(text), text)
    telling = {code: text for code, text in causes.items() if code not in ("D600", "D614", "D615")} or causes
    if not telling:
        if one.state not in ("degraded", "failed"):
            return []
        return [finding("D600", one.name, f"it is {one.state}: {one.healthy} of {one.desired} instances are healthy")]
    return [finding(code, one.name, _short(text)) for code, text in telling.items()]


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 400 else f"{words[:400]} ..."


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
