"""``hms-nomad rollback``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import (
    ForceOption,
    InClusterOption,
    MessageOption,
    ServiceArgument,
    StrategyOption,
    TimeoutOption,
)
from hms_nomad.output.deploys import deploy_document, deploy_lines, failure_lines, interrupted_line
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.plans import plan_lines
from hms_nomad.output.printer import is_terminal
from hms_nomad.output.progress import shown
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.rollouts import rollback as workflow
from hms_nomad.workflows.session import Session

app = new_app()


@command(
    app,
    "rollback",
    "hms-nomad rollback receipt-svc",
    "hms-nomad rollback receipt-svc 1.0.0 --yes",
    "hms-nomad rollback receipt-svc 12 --strategy blue-green --output json",
    writes=True,
)
def rollback(
    run: Run,
    name: ServiceArgument,
    release: Annotated[
        str | None,
        typer.Argument(metavar="[RELEASE]", help="Number, version or id, as in the history; the one before if absent."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    strategy: StrategyOption = None,
    in_cluster: InClusterOption = False,
    force: ForceOption = False,
    message: MessageOption = "",
    timeout: TimeoutOption = None,
) -> int:
    """Go back to an earlier release as a whole: instances, traffic, routes and intentions.

    It shows what would change first, and asks on a terminal. Traffic moves by the same steps as in a deploy. A rollout
    that is under way is not rolled back but aborted.
    """
    options = DeployOptions(
        timeout=timeout, strategy=strategy, in_cluster=in_cluster, force=force, author=author(message)
    )
    with run.session() as session:
        target = workflow.plan_rollback(session, name, release)
        for line in plan_lines(run.printer, [target.plan]):
            run.printer.note(line)
        if not yes and not target.plan.empty and is_terminal(sys.stdin):
            what = f"{target.release.number} ({target.release.version})"
            if not typer.confirm(f"Roll {name} back to release {what}?", err=True):
                run.printer.warn("nothing was changed")
                return ExitCode.INTERRUPTED
        outcome = _roll_back(run, session, name, str(target.release.number), options)
    if outcome.failure is not None:
        for line in failure_lines(run.printer, outcome):
            run.printer.warn(line)
    body = {"changed": outcome.changed, "to": target.release.number, "service": deploy_document(outcome, "")}
    lines = deploy_lines(run.printer, outcome, None) if outcome.failure is None else ()
    run.printer.show("rollback", body, lambda: lines)
    return ExitCode.FAILED if outcome.failure is not None else ExitCode.OK


def _roll_back(run: Run, session: Session, name: str, number: str, options: DeployOptions) -> DeployOutcome:
    events: list[Event] = []
    try:
        with shown(run.printer, f"Rolling {name} back", events) as report:
            return workflow.rollback(session, name, number, options, report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(interrupted_line(name, events)) from None
