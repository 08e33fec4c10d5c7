"""``hms-nomad deploy``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import (
    ContextsOption,
    EnvironmentOption,
    FleetOption,
    ForceOption,
    InClusterOption,
    MessageOption,
    PlannedArgument,
    PruneOption,
    SignOption,
    Strategy,
    StrategyOption,
    TimeoutOption,
    Until,
    VariablesOption,
    Wave,
    parse_names,
    parse_variables,
)
from hms_nomad.output.deploys import deploy_document, deploy_lines, failure_lines, interrupted_line
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import is_terminal
from hms_nomad.output.progress import shown
from hms_nomad.spec.diagnostics import Level
from hms_nomad.workflows.deploying import deploy as workflow
from hms_nomad.workflows.deploying.prune import FleetId, fleet_of, leavers, remember
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.planning.saved_plan import check_plan, find_saved_plan, read_planned
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile, read_specs

if TYPE_CHECKING:
    from hms_nomad.build.signing import Signer
    from hms_nomad.plan.rules import DeployException
    from hms_nomad.platform.model import Platform
    from hms_nomad.workflows.deploying.clusters import Target

app = new_app()


@command(
    app,
    "deploy",
    "hms-nomad deploy receipt.hms.yml",
    "hms-nomad deploy receipt.hms.yml --timeout 3m --output json",
    "hms-nomad deploy receipt.hms.yml --bg --message 'totals in cents'",
    "hms-nomad deploy receipt.hms.yml --until canary-healthy",
    "hms-nomad deploy receipt.hms.yml --in-cluster",
    "hms-nomad deploy services/ --env staging --var tag=1.0.1 --detach",
    "hms-nomad deploy services/ --contexts eu-1,eu-2,us-1 --wave region",
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
    in_cluster: InClusterOption = False,
    force: ForceOption = False,
    sign: SignOption = None,
    message: MessageOption = "",
    timeout: TimeoutOption = None,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast/--keep-going", help="Of several services: begin no more after the first that fails."),
    ] = False,
    prune: PruneOption = False,
    fleet: FleetOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before services are stopped.")] = False,
    contexts: ContextsOption = None,
    wave: Annotated[
        Wave | None,
        typer.Option("--wave", help="What of --contexts is deployed to side by side: nothing, or a region."),
    ] = None,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> int:
    """Bring services up, and wait until they are healthy.

    A new release of a running service gets traffic only as fast as its health allows, and is taken back when it fails
    (exit code 5); promote, abort, pause and resume steer it from any terminal.

    With --in-cluster it ends once the new release is registered, and the cluster's own job goes on with the rollout,
    however long it takes (platform install rollouts); what moves no traffic, such as a first deploy, is done here.

    Only what differs is changed; the second time with the same file nothing is. It is safe to interrupt: the same
    command again finishes the work.

    Several services are deployed at once, in waves: what others use comes first. One that fails stops no other, but
    those that use it when nothing of it runs.

    With --prune, services that left the directory since it was deployed are stopped once all others are well; only
    those that this directory deployed, and on a terminal only after a question.

    With --contexts, the same services go to several clusters: one after the other, or region by region with --wave
    region. A failure ends it before the next wave, so that what is wrong in one region stays there.

    A plan that "plan --out" kept is deployed only if nothing has moved since; otherwise it is refused with code 3.
    """
    _refuse_nonsense(run, bg=bg, strategy=strategy, detach=detach, until=until, contexts=contexts, wave=wave)
    options = workflow.DeployOptions(
        timeout=timeout,
        detach=detach,
        until_healthy=until is not None,
        in_cluster=in_cluster,
        strategy=Strategy.BLUE_GREEN if bg else strategy,
        force=force,
    )
    saved = find_saved_plan(specs)
    whole = None if saved else fleet_of(specs, fleet)
    if prune:
        _refuse_pruning(whole, yes=yes, several=contexts is not None)
    if saved is not None and (env is not None or contexts is not None):
        what = "--env" if env is not None else "--contexts"
        raise typer.BadParameter("a saved plan has its environment and its cluster already", param_hint=what)
    clusters = _clusters(run, contexts) if contexts is not None else ()
    variables = parse_variables(var)
    files = read_planned(saved, specs[0], variables) if saved else read_specs(specs, env, variables)
    for file in files:
        for finding in file.diagnostics:
            if finding.level is Level.WARNING:
                run.printer.note(str(finding))
    for platform in [target.platform for target in clusters] or [run.platform()]:
        for exception in _needed_exceptions(files, platform):
            run.printer.note(f"exception: {exception}")
    if clusters and sign is not None:
        raise typer.BadParameter(
            "sign where the image is built; several clusters then only check it", param_hint="--sign"
        )
    if clusters:
        from hms_nomad.cli.deploy_many import deploy_across
        from hms_nomad.workflows.deploying.clusters import waves_of

        run.confirm(*(target.platform for target in clusters))
        waves = waves_of(clusters, by_region=wave is Wave.REGION)
        chosen = partial(_with_author, options, message)
        return deploy_across(run, waves, files, chosen, partial(_join, run, whole, files), fail_fast=fail_fast)
    key = _signing_key(sign) if sign else None
    with run.session() as opened:
        with shown(run.printer, "Preparing") as report:
            ready = prepare(opened, files, report, build=saved is None, known=saved.pins if saved else {}, key=key)
        session, files = ready.session, ready.files
        checked = check_plan(session, saved, specs[0], files) if saved else None
        for note in checked.notes if checked else ():
            run.printer.note(note)

        def options_of(file: SpecFile) -> workflow.DeployOptions:
            guard = partial(checked.guard, file.spec) if checked else None
            return replace(_with_author(options, message, file), guard=guard)

        def finish(good: bool) -> list[str]:
            return _finish(run, session, whole, files, prune=prune and good, ask=not yes) if whole else []

        if len(files) == 1:
            return _one(run, session, files[0], options_of(files[0]), finish)
        from hms_nomad.cli.deploy_many import deploy_many

        return deploy_many(run, session, files, options_of, finish, fail_fast=fail_fast)


def _refuse_nonsense(
    run: Run,
    *,
    bg: bool,
    strategy: Strategy | None,
    detach: bool,
    until: Until | None,
    contexts: str | None,
    wave: Wave | None,
) -> None:
    """Raise BadParameter for options that contradict each other."""
    if bg and strategy not in (None, Strategy.BLUE_GREEN):
        raise typer.BadParameter(f"--bg means blue-green, and --strategy says {strategy}", param_hint="--bg")
    if detach and until is not None:
        raise typer.BadParameter("--detach waits for nothing, so nothing can be waited for", param_hint="--until")
    if contexts is not None and run.context:
        raise typer.BadParameter("--context is one cluster, and these are several", param_hint="--contexts")
    if wave is not None and contexts is None:
        raise typer.BadParameter("a wave is of several clusters: name them with --contexts", param_hint="--wave")


def _refuse_pruning(whole: FleetId | None, *, yes: bool, several: bool) -> None:
    if whole is None:
        raise typer.BadParameter("services leave a directory: name just one, or a --fleet", param_hint="--prune")
    if several:
        raise typer.BadParameter("what is stopped is decided cluster by cluster, with --context", param_hint="--prune")
    if not yes and not is_terminal(sys.stdin):
        raise typer.BadParameter("nobody can be asked here; say --yes to stop what left", param_hint="--prune")


def _clusters(run: Run, contexts: str) -> tuple[Target, ...]:
    """The clusters of ``--contexts``; what one cluster does not need is loaded only now."""
    from hms_nomad.workflows.deploying.clusters import targets

    return targets(parse_names(contexts), run.platform_of)


def _needed_exceptions(files: Sequence[SpecFile], platform: Platform) -> tuple[DeployException, ...]:
    """What a platform's rules let pass by an exception; they are loaded where there are any."""
    if not platform.rules:
        return ()
    from hms_nomad.workflows.planning.rules import refuse_denied

    return refuse_denied(files, platform)


def _signing_key(reference: str) -> Signer:
    """The key of ``--sign``; what reads it is loaded only now."""
    from hms_nomad.workflows.building.signatures import read_signing_key

    return read_signing_key(reference)


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
    if left:
        from hms_nomad.workflows.deploying.stop import StopOptions, stop
    for name in left:
        with shown(run.printer, f"Stopping {name}") as report:
            stop(session, name, StopOptions(), report)
        gone.append(name)
        run.printer.note(f"{name} left {fleet.name} and was stopped")
    _remember(run, session, fleet, names, gone)
    return gone


def _join(run: Run, fleet: FleetId | None, files: Sequence[SpecFile], session: Session) -> None:
    """Remember in one of several clusters who belongs to the fleet."""
    if fleet is not None:
        _remember(run, session, fleet, [file.spec.name for file in files], [])


def _remember(run: Run, session: Session, fleet: FleetId, names: Sequence[str], gone: Sequence[str]) -> None:
    if not remember(session, fleet, names, gone):
        run.printer.note(f"another directory is deployed as {fleet.name}: --prune needs a --fleet name here")


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


def _with_author(options: workflow.DeployOptions, message: str, file: SpecFile) -> workflow.DeployOptions:
    """The options with who deploys, and the revision of the directory that the file lies in."""
    place = Path(file.file).parent
    return replace(options, author=author(message, place if place.is_dir() else None))


def _deploy_one(run: Run, session: Session, file: SpecFile, options: workflow.DeployOptions) -> workflow.DeployOutcome:
    events: list[Event] = []
    name = file.spec.name
    try:
        with shown(run.printer, f"Deploying {name} {file.spec.version}", events) as report:
            return workflow.deploy(session, file.spec, options, report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(interrupted_line(name, events)) from None
