"""Several services, or several clusters -> one table or document, and one exit code for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hms_nomad.cli.command import Run
from hms_nomad.output.deploys import deploy_document, failure_lines
from hms_nomad.output.faults import classify
from hms_nomad.output.fleet_view import FleetProgress, fleet_shown
from hms_nomad.output.fleets import NOT_TRIED, FleetRow, fleet_exit_code, fleet_lines
from hms_nomad.workflows.deploying.clusters import ClusterResult, Target, deploy_to
from hms_nomad.workflows.deploying.outcome import DeployOptions
from hms_nomad.workflows.deploying.waves import Result, deploy_all
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile

Options = Callable[[SpecFile], DeployOptions]


def deploy_many(
    run: Run,
    session: Session,
    files: Sequence[SpecFile],
    options: Options,
    finish: Callable[[bool], list[str]],
    *,
    fail_fast: bool,
) -> int:
    """Deploy a fleet; ``finish`` hears whether all is well and answers the services that it stopped."""
    ended: list[Result] = []

    title = f"Deploying {len(files)} services"
    try:
        with fleet_shown(run.printer, title, [file.spec.name for file in files]) as progress:

            def told(result: Result) -> None:
                ended.append(result)
                progress.ended(_row(result, ""))
                _say(run, progress, result, "")

            results = deploy_all(session, files, options, progress.report, told, fail_fast=fail_fast)
    except KeyboardInterrupt:
        raise _interrupted([result.file.spec.name for result in ended if result.good], len(files), len(ended)) from None
    rows = _rows(results)
    body = _body(results, rows) | {"pruned": finish(all(result.good for result in results))}
    run.printer.show("deploy", body, lambda: fleet_lines(run.printer, rows))
    return fleet_exit_code(rows, changed=bool(body["changed"]))


def deploy_across(
    run: Run,
    waves: Sequence[Sequence[Target]],
    files: Sequence[SpecFile],
    options: Options,
    after: Callable[[Session], None],
    *,
    fail_fast: bool,
) -> int:
    """Deploy a fleet to waves of clusters; ``after`` gets the session of each cluster that is done."""
    clusters = [target for wave in waves for target in wave]
    ended: list[tuple[Target, Result]] = []

    title = f"Deploying {len(files)} services to {len(clusters)} clusters"
    subjects = [f"{target.context}/{file.spec.name}" for target in clusters for file in files]
    try:
        with fleet_shown(run.printer, title, subjects) as progress:

            def told(target: Target, result: Result) -> None:
                ended.append((target, result))
                progress.ended(_row(result, target.context))
                _say(run, progress, result, f"{target.context}: ")

            report, wait = progress.report, run.lock_wait or 0.0
            found = deploy_to(waves, files, options, report, told, after, lock_wait=wait, fail_fast=fail_fast)
    except KeyboardInterrupt:
        good = [f"{target.context}/{result.file.spec.name}" for target, result in ended if result.good]
        raise _interrupted(good, len(files) * len(clusters), len(ended)) from None
    rows = {cluster.target.context: _cluster_rows(cluster, files) for cluster in found}
    every = [row for of_one in rows.values() for row in of_one]
    bodies = [_cluster_body(cluster, rows[cluster.target.context]) for cluster in found]
    changed = any(body["changed"] for body in bodies)
    run.printer.show("deploy", {"changed": changed, "contexts": bodies}, lambda: fleet_lines(run.printer, every))
    return fleet_exit_code(every, changed=changed)


def _say(run: Run, progress: FleetProgress, result: Result, where: str) -> None:
    """What cannot wait for the table: warnings, and why a service failed."""
    for warning in result.outcome.warnings if result.outcome else ():
        progress.say(f"warning: {where}{result.file.spec.name}: {warning}")
    if result.outcome is not None and result.outcome.failure is not None:
        for line in failure_lines(run.printer, result.outcome):
            progress.say(f"{where}{line}")
    elif result.error is not None:
        progress.say(f"error: {where}{result.file.spec.name}: {classify(result.error).message}")


def _interrupted(good: Sequence[str], count: int, ended: int) -> KeyboardInterrupt:
    return KeyboardInterrupt(
        f"interrupted; done: {', '.join(good) or 'none'}; not done: {count - ended} services, of which some may be "
        "under way; the same command finishes the work"
    )


def _cluster_rows(cluster: ClusterResult, files: Sequence[SpecFile]) -> list[FleetRow]:
    """A row for each service, also of a cluster that was not tried or did not answer."""
    context = cluster.target.context
    if cluster.results:
        return _rows(cluster.results, context)
    if cluster.error is not None:
        fault = classify(cluster.error)
        return [FleetRow("*", "", "error", why=fault.message, fault=fault, context=context)]
    why = "an earlier wave failed"
    return [FleetRow(file.spec.name, file.spec.version, NOT_TRIED, why=why, context=context) for file in files]


def _cluster_body(cluster: ClusterResult, rows: Sequence[FleetRow]) -> dict[str, Any]:
    where = {"context": cluster.target.context, "region": cluster.target.region, "tried": cluster.tried}
    return where | _body(cluster.results, rows)


def _body(results: Sequence[Result], rows: Sequence[FleetRow]) -> dict[str, Any]:
    return {
        "changed": any(result.outcome is not None and result.outcome.changed for result in results),
        "services": [deploy_document(one.outcome, one.file.file) for one in results if one.outcome is not None],
        "errors": [row.as_document() for row in rows if row.fault is not None],
        "not_tried": [row.service for row in rows if row.result == NOT_TRIED],
    }


def _rows(results: Sequence[Result], context: str = "") -> list[FleetRow]:
    return [_row(result, context) for result in results]


def _row(result: Result, context: str) -> FleetRow:
    spec, outcome = result.file.spec, result.outcome
    if outcome is not None:
        why = outcome.failure.reason if outcome.failure else outcome.hint
        release, healthy = outcome.release, str(outcome.instances)
        return FleetRow(spec.name, spec.version, str(outcome.status), release, healthy, why, context=context)
    if result.error is not None:
        fault = classify(result.error)
        return FleetRow(spec.name, spec.version, "error", why=fault.message, fault=fault, context=context)
    return FleetRow(spec.name, spec.version, NOT_TRIED, why=result.held_back, context=context)
