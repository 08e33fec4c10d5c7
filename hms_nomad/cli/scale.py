"""``hms-nomad scale``: NAME COUNT as a command of its own, and ``explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import MessageOption, ServiceArgument, TimeoutOption, parse_seconds
from hms_nomad.output.deploys import evidence_lines
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.progress import shown
from hms_nomad.output.scale import event_lines, rule_lines
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.operating import scale as workflow
from hms_nomad.workflows.origin import author

_PATIENCE_SECONDS = 300.0


class ScaleGroup(TyperGroup):
    """``scale NAME ...`` is ``scale set NAME ...``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named first, else ``set``."""
        named = bool(args) and args[0] in self.commands
        return super().resolve_command(ctx, args if named else ["set", *args])


app = new_app("Set how many instances of a service run (scale NAME COUNT), or see why it is that many.")
app.info.cls = ScaleGroup


@command(
    app,
    "set",
    "hms-nomad scale set receipt-svc 5",
    "hms-nomad scale receipt-svc 5 --hold 2h",
    "hms-nomad scale receipt-svc --auto",
    writes=True,
)
def scale(
    run: Run,
    name: ServiceArgument,
    count: Annotated[int | None, typer.Argument(metavar="COUNT", min=0, help="How many instances shall run.")] = None,
    hold: Annotated[
        float | None,
        typer.Option("--hold", parser=parse_seconds, metavar="TIME", help="Keep the count for a while, like 2h."),
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Give the count back to the autoscaler.")] = False,
    message: MessageOption = "",
    timeout: TimeoutOption = None,
) -> int:
    """Set how many instances of a service run, and wait until they are healthy. "set" may be left out.

    The autoscaler goes on from there, within the bounds of the spec. With --hold the count stays for a while, by whole
    minutes and 30 days at most; the hold ends by itself, and a deploy keeps it. --auto ends it at once.
    """
    if auto and (count is not None or hold is not None):
        raise typer.BadParameter("--auto gives the count back, so it takes neither a count nor --hold")
    if count is None and hold is None and not auto:
        raise typer.BadParameter("how many? write a count, --hold TIME or --auto, or: hms-nomad scale explain NAME")
    patience = timeout or _PATIENCE_SECONDS
    with (
        run.session() as session,
        shown(run.printer, f"Scaling {name}") as told,
        guarded(session, name, Intent("scale", message), told) as work,
    ):
        if auto:
            outcome = workflow.release_hold(session, name, patience, work.report)
        elif hold is not None:
            outcome = workflow.hold_count(session, name, count, hold, patience, work.report)
        else:
            why = message or f"set by {author().who}"
            outcome = workflow.scale(session, name, count or 0, why, patience, work.report)
        work.concluded(outcome)
    run.printer.show("scale", {"scale": outcome}, lambda: _scaled(run.printer, outcome))
    if outcome.failure is None:
        return ExitCode.OK
    run.printer.warn(f"error: {name} did not become healthy: {inert(outcome.failure.reason)}")
    for line in evidence_lines(outcome.failure):
        run.printer.warn(line)
    return ExitCode.UNKNOWN


@command(app, "explain", "hms-nomad scale explain receipt-svc", "hms-nomad scale explain receipt-svc --output json")
def explain(run: Run, name: ServiceArgument) -> None:
    """Say why a service has as many instances as it has: each rule's figure against its bounds, and what follows.

    The figures are measured now, as the autoscaler measures them at its next evaluation.
    """
    with run.session() as session:
        found = workflow.explain_scaling(session, name)
    run.printer.show("scale-explain", {"scaling": found}, lambda: _explained(run.printer, found))


def _scaled(printer: Printer, outcome: workflow.Scaled) -> Iterator[str]:
    if outcome.failure is not None:
        return
    instances = f"{outcome.count} {'instance' if outcome.count == 1 else 'instances'}"
    mark = printer.style("✓", "green")
    if outcome.held:
        until = outcome.held.replace("T", " ").replace("Z", " UTC")
        yield f"{mark} {outcome.service}: {instances}, held until {until}"
        return
    before = f" (from {outcome.before})" if outcome.before != outcome.count else ""
    already = "" if outcome.changed else " already: nothing to change"
    yield f"{mark} {outcome.service}: {instances}{before}{already}"
    yield f"The autoscaler moves it between {outcome.minimum} and {outcome.maximum}; --hold TIME would keep it"


def _explained(printer: Printer, found: workflow.Explained) -> Iterator[str]:
    bounds = f"bounds {found.minimum}-{found.maximum}"
    yield f"{printer.style(found.service, 'bold')}: {found.running} of {found.count} instances run, {bounds}"
    yield ""
    yield from rule_lines(printer, found.voices)
    yield ""
    if found.hindrance:
        yield f"Nothing happens: {found.hindrance}"
        yield f"Otherwise    {_outlook(found)}"
    else:
        yield f"Decision     {_outlook(found)}"
    rest = f", at rest for another {found.resting:.0f} s" if found.resting else ""
    yield f"Evaluation   every {found.every:g} s{rest}"
    for number, line in enumerate(event_lines(found.events)):
        yield f"{'' if number else 'Last':<13}{line}"


def _outlook(found: workflow.Explained) -> str:
    if found.target == found.running:
        return f"{found.running} stays {found.running}: {found.reason}"
    when = "after the rest" if found.resting else "at the next evaluation"
    return f"{found.running} becomes {found.target} {when}: {found.reason}"
