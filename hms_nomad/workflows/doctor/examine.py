"""``doctor``: asks the servers of a platform everything that decides whether services work, and judges the answers.

Nothing is written. A server that cannot be asked is a finding; what only it knows counts as not looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from hms_nomad.clients.errors import DeniedError, NotFoundError, ServerError
from hms_nomad.clients.nomad_types import Node, NomadAgent
from hms_nomad.doctor.finding import Finding, Section, SectionResult
from hms_nomad.doctor.nodes import NodeFacts, judge_nodes, needed_drivers
from hms_nomad.doctor.rights import judge_rights
from hms_nomad.doctor.servers import ServerFacts, judge_servers
from hms_nomad.doctor.work import judge_platform, judge_services, judge_traces
from hms_nomad.workflows.doctor.asks import ask_consul, ask_nomad, ask_vault, unmeasured
from hms_nomad.workflows.doctor.mesh import examine_mesh
from hms_nomad.workflows.doctor.rights import ask_rights
from hms_nomad.workflows.doctor.work import ask_platform, ask_services, ask_traces, drivers_of_services
from hms_nomad.workflows.session import Session


class Examination(Struct, frozen=True):
    """What was found, section by section."""

    sections: tuple[SectionResult, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found, in the order of the sections."""
        return tuple(found for section in self.sections for found in section.findings)

    @property
    def checks(self) -> int:
        """How many things were looked at."""
        return sum(section.checks for section in self.sections)


def examine(session: Session, role: str, service: str | None = None) -> Examination:
    """Look at the whole platform, or with ``service`` at that one and all that it stands on.

    ``role`` says whose rights the tokens should have. Raises NotFoundError for a service that there is not.
    """
    platform = session.platform
    nomad, consul, vault = ask_nomad(session), ask_consul(session), ask_vault(session)
    asked = [one for one in (nomad, consul, vault) if one is not None]
    sections = [judge_servers(asked, development=platform.development)]
    away = (*_gone(nomad), *_gone(consul))
    reached = {one.server: not _gone(one) and one.token_error is None for one in asked}
    sections.append(_nodes(session, nomad))
    sections.append(_unless(Section.MESH, _gone(consul), lambda: examine_mesh(session, _agent(session, nomad))))
    sections.append(judge_rights(ask_rights(session, role, service, reached)))
    sections.append(_unless(Section.PLATFORM, away, lambda: judge_platform(ask_platform(session))))
    sections.append(_unless(Section.SERVICES, away, lambda: judge_services(ask_services(session, service))))
    sections.append(_unless(Section.TRACES, away, lambda: judge_traces(ask_traces(session, service))))
    return Examination(tuple(sections))


def _nodes(session: Session, nomad: ServerFacts) -> SectionResult:
    def look() -> SectionResult:
        nodes = session.nomad.list_nodes()
        facts = NodeFacts(nodes, _unmeasured(session, nodes), nomad.version)
        return judge_nodes(facts, session.platform, needed_drivers(session.platform) | drivers_of_services(session))

    return _unless(Section.NODES, _gone(nomad), look)


def _unmeasured(session: Session, nodes: tuple[Node, ...]) -> frozenset[str]:
    try:
        return unmeasured(session, nodes)
    except DeniedError:
        return frozenset()


def _agent(session: Session, nomad: ServerFacts) -> NomadAgent | None:
    if _gone(nomad):
        return None
    try:
        return session.nomad.agent()
    except ServerError:
        return None


def _gone(one: ServerFacts) -> tuple[str, ...]:
    return (f"no {one.server}",) if one.error is not None or one.leader is False else ()


def _unless(section: Section, away: tuple[str, ...], look: Callable[[], SectionResult]) -> SectionResult:
    """One section, or why it could not be looked at: a right that is missing is told, not raised."""
    if away:
        return SectionResult(section, 0, not_run=away)
    try:
        return look()
    except NotFoundError:
        raise
    except ServerError as error:
        return SectionResult(section, 0, not_run=(str(error),))
