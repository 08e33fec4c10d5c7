"""``hms-nomad stop``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from hms_nomad.apply.progress import Event, Report
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument, TimeoutOption
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import Printer, is_terminal
from hms_nomad.output.progress import shown
from hms_nomad.workflows.deploying import stop as workflow

app = new_app()

_USUAL_TIMEOUT_SECONDS = 120.0


@command(
    app, "stop", "hms-nomad stop receipt-svc", "hms-nomad stop receipt-svc --purge --yes --output json", writes=True
)
def stop(
    run: Run,
    name: ServiceArgument,
    purge: Annotated[
        bool, typer.Option("--purge", help="Forget the job, its versions and the records of its releases too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: TimeoutOption = None,
) -> int | None:
    """Stop a service and remove what was made for it.

    In this order: its routes through the gateway, its instances (which finish what they are doing), and its entries in
    Consul. What operators made by hand stays. On a terminal it asks first.
    """
    options = workflow.StopOptions(timeout=timeout or _USUAL_TIMEOUT_SECONDS, purge=purge)
    with run.session() as session:
        if not yes and is_terminal(sys.stdin):
            plan = workflow.plan_stop(session, name, options)
            if not plan.empty and not _confirmed(plan):
                run.printer.warn("nothing was stopped")
                return ExitCode.INTERRUPTED
        outcome = _stop(run, name, lambda report: workflow.stop(session, name, options, report))
    run.printer.show("stop", {"outcome": outcome}, lambda: _lines(run.printer, outcome))
    return None


def _stop(run: Run, name: str, work: Callable[[Report], workflow.StopOutcome]) -> workflow.StopOutcome:
    events: list[Event] = []
    try:
        with shown(run.printer, f"Stopping {name}", events) as report:
            return work(report)
    except KeyboardInterrupt:
        done = ", ".join(event.message for event in events if event.kind == "apply") or "nothing"
        raise KeyboardInterrupt(
            f"interrupted; done: {done}; not done: the rest; hms-nomad stop {name} finishes the work"
        ) from None


def _confirmed(plan: workflow.StopPlan) -> bool:
    callers = f" {', '.join(plan.callers)} may call it and will get no answer." if plan.callers else ""
    return typer.confirm(f"Stop {plan.service}?{callers}", err=True)


def _lines(printer: Printer, outcome: workflow.StopOutcome) -> Iterator[str]:
    tick = printer.style("✓", "green")
    if not outcome.changed:
        yield f"{tick} {outcome.service} does not run and has no entries: nothing to do"
    else:
        yield f"{tick} {outcome.service} stopped{' and forgotten' if outcome.purged else ''}"
    if outcome.callers and outcome.changed:
        yield f"These services may call it and get no answer now: {', '.join(outcome.callers)}"
    if outcome.foreign:
        yield f"Not made by hms-nomad, so it stays: {', '.join(outcome.foreign)}"
