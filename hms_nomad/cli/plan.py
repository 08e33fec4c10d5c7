"""``hms-nomad plan``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import (
    EnvironmentOption,
    FleetOption,
    PruneOption,
    SpecsArgument,
    VariablesOption,
    parse_variables,
)
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.plans import Detail, plan_document, plan_lines
from hms_nomad.output.progress import shown
from hms_nomad.workflows.deploying.prune import fleet_of, leavers
from hms_nomad.workflows.observe import at_once
from hms_nomad.workflows.planning import plan as workflow
from hms_nomad.workflows.planning.prepare import prepare
from hms_nomad.workflows.planning.rules import refuse_denied
from hms_nomad.workflows.planning.saved_plan import refuse_unsavable, save_plan
from hms_nomad.workflows.platform.gateway import all_route_warnings
from hms_nomad.workflows.rollouts import present as rollouts
from hms_nomad.workflows.specs import read_specs

app = new_app()


@command(
    app,
    "plan",
    "hms-nomad plan receipt.hms.yml",
    "hms-nomad plan services/ --env staging --output json",
    "hms-nomad plan services/ --detailed summary",
    "hms-nomad plan services/ --out next.plan && hms-nomad deploy next.plan",
)
def plan(
    run: Run,
    specs: SpecsArgument,
    detailed: Annotated[
        Detail, typer.Option("--detailed", help="How much is shown; JSON always holds all of it.")
    ] = Detail.FIELDS,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep the plan in a file that deploy takes.")
    ] = None,
    prune: PruneOption = False,
    fleet: FleetOption = None,
    env: EnvironmentOption = None,
    var: VariablesOption = None,
) -> int:
    """Show what a deploy would change, field by field, and write nothing.

    All kinds of objects are compared as they mean the same, so a plan right after a deploy is empty. Of a job that
    would be registered, Nomad's own scheduler says how many instances it would create, destroy, update in place or add
    as canaries, and whether they find a node. Values that look like secrets are hidden.

    A plan that is kept with --out holds no secrets, and deploy refuses it (exit code 3) once anything has moved: the
    specs, an object at the servers, or the cluster that it is sent to.

    Ends with 0 when there is nothing to change and with 1 when there is, so that a pipeline can decide by it.
    """
    variables = parse_variables(var)
    if out is not None:
        refuse_unsavable(specs)
    files = read_specs(specs, env, variables)
    for exception in refuse_denied(files, run.platform()):
        run.printer.note(f"exception: {exception}")
    with run.session() as opened:
        with shown(run.printer, "Preparing") as report:
            ready = prepare(opened, files, report, build=False)
        session, files = ready.session, ready.files
        for image in ready.unbuilt:
            run.printer.note(f"{image} is not built yet: a deploy builds it first")
        read = [file.spec for file in files]
        plans, warnings = at_once([partial(workflow.plan, session, read), partial(all_route_warnings, session, read)])
        if out is not None:
            save_plan(session, out, (specs, env, variables), files, plans)
        whole = fleet_of(specs, fleet)
        if prune and whole is None:
            raise typer.BadParameter("services leave a directory: name just one, or a --fleet", param_hint="--prune")
        warnings = (*warnings, *rollouts.among(session, plans))
        left = leavers(session, whole, [file.spec.name for file in files]) if prune and whole else ()
    changed = bool(left) or not all(one.empty or one.waits for one in plans)
    for warning in warnings:
        run.printer.warn(f"warning: {warning}")
    run.printer.show(
        "plan",
        {"changed": changed, "plans": [plan_document(one) for one in plans], "warnings": warnings, "left": left},
        lambda: (*plan_lines(run.printer, plans, detailed), *(f"- {name} left and would be stopped" for name in left)),
    )
    if out is not None:
        run.printer.note(f"kept in {out}; deploy it with: hms-nomad deploy {out}")
    return ExitCode.CHANGES if changed else ExitCode.OK
