"""``hms-nomad deploy``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import (
    EnvironmentOption,
    ForceOption,
    MessageOption,
    SpecsArgument,
    Strategy,
    StrategyOption,
    TimeoutOption,
    Until,
    VariablesOption,
    parse_variables,
)
from hms_nomad.output.deploys import deploy_document, deploy_lines, failure_lines, interrupted_line
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.progress import shown
from hms_nomad.rollout.journal import Author
from hms_nomad.spec.diagnostics import Level
from hms_nomad.spec.fleet import deploy_order
from hms_nomad.workflows import deploy as workflow
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile, read_specs

app = new_app()


@command(
    app,
    "deploy",
    "hms-nomad deploy receipt.hms.yml",
    "hms-nomad deploy receipt.hms.yml --timeout 3m --output json",
    "hms-nomad deploy receipt.hms.yml --bg --message 'totals in cents'",
    "hms-nomad deploy receipt.hms.yml --until canary-healthy",
    "hms-nomad deploy services/ --env staging --var tag=1.0.1 --detach",
)
def deploy(
    run: Run,
    specs: SpecsArgument,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait until the services are healthy.")] = False,
    bg: Annotated[bool, typer.Option("--bg", help="Blue-green: warm all instances up, then switch at once.")] = False,
    strategy: StrategyOption = None,
    until: Annotated[
        Until | None, typer.Option("--until", help="End with healthy new instances that have no traffic yet.")
    ] = None,
    force: ForceOption = False,
    message: MessageOption = "",
    timeout: TimeoutOption = None,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> int:
    """Bring services up, and wait until they are healthy.

    A new release of a running service gets traffic only as fast as its health allows, and is taken back when it fails
    (exit code 5); promote, abort, pause and resume steer it from any terminal.

    Only what differs is changed; the second time with the same file nothing is. Several services are deployed one
    after the other, what others use first, and the first that fails ends the command. It is safe to interrupt: the
    same command again finishes the work.
    """
    files = _in_order(read_specs(specs, env, parse_variables(var)))
    for file in files:
        for finding in file.diagnostics:
            if finding.level is Level.WARNING:
                run.printer.note(str(finding))
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
    ended: list[workflow.DeployOutcome] = []
    with run.session() as session, _told(run, ended):
        for file in files:
            ended.append(_deploy_one(run, session, file, replace(options, author=_author(message, file))))
            for warning in ended[-1].warnings:
                run.printer.warn(f"warning: {warning}")
            if not run.printer.json:
                _print(run, ended[-1], file, len(files) > 1)
            if ended[-1].failure is not None:
                break
    left = [file.spec.name for file in files[len(ended) :]]
    body = {
        "changed": any(one.changed for one in ended),
        "services": [deploy_document(one, file.file) for one, file in zip(ended, files, strict=False)],
        "not_tried": left,
    }
    run.printer.show("deploy", body, lambda: ())
    if left:
        run.printer.warn(f"not deployed: {', '.join(left)}")
    return ExitCode.FAILED if ended[-1].failure is not None else ExitCode.OK


def _author(message: str, file: SpecFile) -> Author:
    """Who deploys, and the revision of the directory that the file lies in."""
    place = Path(file.file).parent
    return author(message, place if place.is_dir() else None)


@contextmanager
def _told(run: Run, ended: list[workflow.DeployOutcome]) -> Iterator[None]:
    """An error in the middle of several deploys does not hide those that ended before it."""
    try:
        yield
    except BaseException:
        if ended:
            run.printer.warn(f"deployed before the error: {', '.join(one.service for one in ended)}")
        raise


def _in_order(files: Sequence[SpecFile]) -> list[SpecFile]:
    """What others use comes first; else the order of the command line."""
    waves = enumerate(deploy_order(file.spec for file in files))
    wave_of = {name: number for number, names in waves for name in names}
    return sorted(files, key=lambda file: wave_of[file.spec.name])


def _deploy_one(run: Run, session: Session, file: SpecFile, options: workflow.DeployOptions) -> workflow.DeployOutcome:
    events: list[Event] = []
    name = file.spec.name
    try:
        with shown(run.printer, f"Deploying {name} {file.spec.version}", events) as report:
            return workflow.deploy(session, file.spec, options, report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(interrupted_line(name, events)) from None


def _print(run: Run, outcome: workflow.DeployOutcome, file: SpecFile, headed: bool) -> None:
    for warning in outcome.warnings:
        run.printer.warn(f"{run.printer.style_note('warning:', 'yellow')} {warning}")
    if outcome.failure is not None:
        for line in failure_lines(run.printer, outcome):
            run.printer.warn(line)
        return
    if headed:
        run.printer.text([f"{outcome.service} {outcome.version}"])
    run.printer.text(deploy_lines(run.printer, outcome, file.spec.image))
