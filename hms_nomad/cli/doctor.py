"""``hms-nomad doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_service
from hms_nomad.dev.settings import StackSettings
from hms_nomad.doctor.finding import Finding, Level, SectionResult
from hms_nomad.doctor.machine import examine_machine
from hms_nomad.output.doctor import examination_lines
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.workflows.doctor import examine as workflow

app = new_app()


class Role(StrEnum):
    """Whose rights the tokens should have."""

    VIEWER = "viewer"
    PLANNER = "planner"
    DEPLOYER = "deployer"
    OPERATOR = "operator"


@command(
    app,
    "doctor",
    "hms-nomad doctor",
    "hms-nomad doctor --service receipt-svc --role deployer",
    "hms-nomad doctor --pre --port-offset 1000 --output json",
)
def doctor(
    run: Run,
    pre: Annotated[
        bool, typer.Option("--pre", help="Only look whether this machine could run a node; no server is asked.")
    ] = False,
    service: Annotated[
        str | None,
        typer.Option(
            "--service", metavar="NAME", help="Look at this service only, and closely.", autocompletion=complete_service
        ),
    ] = None,
    role: Annotated[Role, typer.Option("--role", help="Whose rights the tokens should have.")] = Role.VIEWER,
    port_offset: Annotated[
        int, typer.Option("--port-offset", metavar="N", help="With --pre: added to every server's usual port.")
    ] = 0,
) -> int:
    """Find out what is wrong with the platform, and what would be right. Nothing is changed.

    It looks at the servers and their certificates, the nodes, the mesh and its authority, the rights of the tokens, the
    platform's own jobs, the services, and what earlier commands left. Each finding has a code that docs/doctor.md
    explains.

    Ends with 0 when nothing is wrong, also with warnings, and with 1 when something does not work.
    """
    if pre:
        settings = StackSettings(state_dir=Path(), port_offset=port_offset, download=False)
        sections: Sequence[SectionResult] = (examine_machine(settings),)
    else:
        with run.session() as session:
            sections = workflow.examine(session, role, service).sections
    found = [one for section in sections for one in section.findings]
    body = {"healthy": not found, "findings": found, "sections": [_summary(one) for one in sections]}
    run.printer.show("doctor", body, lambda: examination_lines(run.printer, sections))
    return ExitCode.CHANGES if _broken(found) else ExitCode.OK


def _summary(section: SectionResult) -> dict[str, object]:
    return {
        "section": section.section,
        "checks": section.checks,
        "findings": len(section.findings),
        "not_run": section.not_run,
    }


def _broken(found: Sequence[Finding]) -> bool:
    return any(one.level is Level.ERROR for one in found)
