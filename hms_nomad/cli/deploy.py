"""``hms-nomad deploy``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import (
    EnvironmentOption,
    FleetOption,
    ForceOption,
    MessageOption,
    PlannedArgument,
    PruneOption,
    Strategy,
    StrategyOption,
    TimeoutOption,
    Until,
    VariablesOption,
    parse_variables,
)
from hms_nomad.output.deploys import deploy_document, deploy_lines, failure_lines, interrupted_line
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.faults import classify
from hms_nomad.output.fleets import NOT_TRIED, FleetRow, fleet_exit_code, fleet_lines
from hms_nomad.output.printer import is_terminal
from hms_nomad.output.progress import shown
from hms_nomad.rollout.journal import Author
from hms_nomad.spec.diagnostics import Level
from hms_nomad.workflows import deploy as workflow
from hms_nomad.workflows import waves
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.prune import FleetId, fleet_of, leavers, remember
from hms_nomad.workflows.rules import refuse_denied
from hms_nomad.workflows.saved_plan import check_plan, find_saved_plan, read_planned
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile, read_specs
from hms_nomad.workflows.stop import StopOptions, stop

app = new_app()


@command(
    app,
    "deploy",
    "hms-nomad deploy receipt.hms.yml",
    "hms-nomad deploy receipt.hms.yml --timeout 3m --output json",
    "hms-nomad deploy receipt.hms.yml --bg --message 'totals in cents'",
    "hms-nomad deploy receipt.hms.yml --until canary-healthy",
    "hms-nomad deploy services/ --env staging --var tag=1.0.1 --detach",
    "hms-nomad deploy next.plan",
    writes=True,
)
def deploy(
    run: Run,
    specs: PlannedArgument,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait until the services are healthy.")] = False,
    bg: Annotated[bool, typer.Option("--bg", help="Blue-green: warm all instances up, then switch at once.")] = False,
    strategy: StrategyOption = None,
    until: Annotated[
        Until | None, typer.Option("--until", help="End with healthy new instances that have no traffic yet.")
    ] = None,
    force: ForceOption = False,
    message: MessageOption = "",
    timeout: TimeoutOption = None,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast/--keep-going", help="Of several services: begin no more after the first that fails."),
    ] = False,
    prune: PruneOption = False,
    fleet: FleetOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before services are stopped.")] = False,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> int:
    """Bring services up, and wait until they are healthy.

    A new release of a running service gets traffic only as fast as its health allows, and is taken back when it fails
    (exit code 5); promote, abort, pause and resume steer it from any terminal.

    Only what differs is changed; the second time with the same file nothing is. It is safe to interrupt: the same
    command again finishes the work.

    Several services are deployed at once, in waves: what others use comes first. One that fails stops no other, but
    those that use it when nothing of it runs.

    With --prune, services that left the directory since it was deployed are stopped once all others are well; only
    those that this directory deployed, and on a terminal only after a question.

    A plan that "plan --out" kept is deployed only if nothing has moved since; otherwise it is refused with code 3.
    """
    if bg and strategy not in (None, Strategy.BLUE_GREEN):
        raise typer.BadParameter(f"--bg means blue-green, and --strategy says {strategy}", param_hint="--bg")
    if detach and until is not None:
        raise typer.BadParameter("--detach waits for nothing, so nothing can be waited for", param_hint="--until")
    options = workflow.DeployOptions(
        timeout=timeout,
        detach=detach,
        until_healthy=until is not None,
        strategy=Strategy.BLUE_GREEN if bg else strategy,
        force=force,
    )
    saved = find_saved_plan(specs)
    whole = None if saved else fleet_of(specs, fleet)
    if prune and whole is None:
        raise typer.BadParameter("services leave a directory: name just one, or a --fleet", param_hint="--prune")
    if prune and not yes and not is_terminal(sys.stdin):
        raise typer.BadParameter("nobody can be asked here; say --yes to stop what left", param_hint="--prune")
    if saved is not None and env is not None:
        raise typer.BadParameter("a saved plan has its environment already", param_hint="--env")
    variables = parse_variables(var)
    files = read_planned(saved, specs[0], variables) if saved else read_specs(specs, env, variables)
    for file in files:
        for finding in file.diagnostics:
            if finding.level is Level.WARNING:
                run.printer.note(str(finding))
    for exception in refuse_denied(files, run.platform()):
        run.printer.note(f"exception: {exception}")
    with run.session() as session:
        checked = check_plan(session, saved, specs[0], files) if saved else None
        for note in checked.notes if checked else ():
            run.printer.note(note)

        def options_of(file: SpecFile) -> workflow.DeployOptions:
            guard = partial(checked.guard, file.spec) if checked else None
            return replace(options, author=_author(message, file), guard=guard)

        def finish(good: bool) -> list[str]:
            return _finish(run, session, whole, files, prune=prune and good, ask=not yes) if whole else []

        if len(files) == 1:
            return _one(run, session, files[0], options_of(files[0]), finish)
        return _many(run, session, files, options_of, finish, fail_fast=fail_fast)


def _finish(
    run: Run, session: Session, fleet: FleetId, files: Sequence[SpecFile], *, prune: bool, ask: bool
) -> list[str]:
    """Remember who belongs to the fleet, and stop who left it; answers those that were stopped."""
    names = [file.spec.name for file in files]
    gone: list[str] = []
    left = leavers(session, fleet, names) if prune else ()
    if left and ask and not typer.confirm(f"Stop what left {fleet.name}: {', '.join(left)}?", err=True):
        run.printer.warn(f"left and not stopped: {', '.join(left)}")
        left = ()
    for name in left:
        with shown(run.printer, f"Stopping {name}") as report:
            stop(session, name, StopOptions(), report)
        gone.append(name)
        run.printer.note(f"{name} left {fleet.name} and was stopped")
    if not remember(session, fleet, names, gone):
        run.printer.note(f"another directory is deployed as {fleet.name}: --prune needs a --fleet name here")
    return gone


def _one(
    run: Run,
    session: Session,
    file: SpecFile,
    options: workflow.DeployOptions,
    finish: Callable[[bool], list[str]],
) -> int:
    outcome = _deploy_one(run, session, file, options)
    for warning in outcome.warnings:
        run.printer.warn(f"{run.printer.style_note('warning:', 'yellow')} {warning}")
    if not run.printer.json and outcome.failure is not None:
        for line in failure_lines(run.printer, outcome):
            run.printer.warn(line)
    services = [deploy_document(outcome, file.file)]
    pruned = finish(outcome.failure is None)
    body = {"changed": outcome.changed or bool(pruned), "services": services, "not_tried": [], "pruned": pruned}
    lines = () if outcome.failure is not None else deploy_lines(run.printer, outcome, file.spec.image)
    run.printer.show("deploy", body, lambda: lines)
    return ExitCode.FAILED if outcome.failure is not None else ExitCode.OK


def _many(
    run: Run,
    session: Session,
    files: Sequence[SpecFile],
    options: Callable[[SpecFile], workflow.DeployOptions],
    finish: Callable[[bool], list[str]],
    *,
    fail_fast: bool,
) -> int:
    ended: list[waves.Result] = []

    def told(result: waves.Result) -> None:
        ended.append(result)
        for warning in result.outcome.warnings if result.outcome else ():
            run.printer.warn(f"warning: {result.file.spec.name}: {warning}")
        if result.outcome is not None and result.outcome.failure is not None:
            for line in failure_lines(run.printer, result.outcome):
                run.printer.warn(line)
        elif result.error is not None:
            run.printer.warn(f"error: {result.file.spec.name}: {classify(result.error).message}")

    try:
        with shown(run.printer, f"Deploying {len(files)} services") as report:
            results = waves.deploy_all(session, files, options, report, told, fail_fast=fail_fast)
    except KeyboardInterrupt:
        done = ", ".join(result.file.spec.name for result in ended if result.good) or "none"
        raise KeyboardInterrupt(
            f"interrupted; done: {done}; not done: {len(files) - len(ended)} services, of which some may be under way; "
            "the same command finishes the work"
        ) from None
    rows = [_row(result) for result in results]
    body = {
        "changed": any(result.outcome is not None and result.outcome.changed for result in results),
        "services": [deploy_document(one.outcome, one.file.file) for one in results if one.outcome is not None],
        "errors": [row.as_document() for row in rows if row.fault is not None],
        "not_tried": [row.service for row in rows if row.result == NOT_TRIED],
        "pruned": finish(all(result.good for result in results)),
    }
    run.printer.show("deploy", body, lambda: fleet_lines(run.printer, rows))
    return fleet_exit_code(rows, changed=bool(body["changed"]))


def _row(result: waves.Result) -> FleetRow:
    spec, outcome = result.file.spec, result.outcome
    if outcome is not None:
        why = outcome.failure.reason if outcome.failure else outcome.hint
        return FleetRow(spec.name, spec.version, str(outcome.status), outcome.release, str(outcome.instances), why)
    if result.error is not None:
        fault = classify(result.error)
        return FleetRow(spec.name, spec.version, "error", why=fault.message, fault=fault)
    return FleetRow(spec.name, spec.version, NOT_TRIED, why=result.held_back)


def _author(message: str, file: SpecFile) -> Author:
    """Who deploys, and the revision of the directory that the file lies in."""
    place = Path(file.file).parent
    return author(message, place if place.is_dir() else None)


def _deploy_one(run: Run, session: Session, file: SpecFile, options: workflow.DeployOptions) -> workflow.DeployOutcome:
    events: list[Event] = []
    name = file.spec.name
    try:
        with shown(run.printer, f"Deploying {name} {file.spec.version}", events) as report:
            return workflow.deploy(session, file.spec, options, report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(interrupted_line(name, events)) from None
