"""``hms-nomad drift``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.completion import complete_service
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.plans import changed_items, is_long_list
from hms_nomad.output.printer import Printer, inert
from hms_nomad.plan.drift import CHANGED, MISSING, OVERRULED, DriftedField
from hms_nomad.workflows.planning import drift as workflow

app = new_app()

_SIGNS = {CHANGED: ("~", "yellow"), MISSING: ("-", "red"), OVERRULED: ("!", "red")}


@command(app, "drift", "hms-nomad drift", "hms-nomad drift receipt-svc payment-svc --output json")
def drift(
    run: Run,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Services; all of ours when absent.", autocompletion=complete_service),
    ] = None,
) -> int:
    """Find what somebody changed by hand: jobs, and config entries and intentions in Consul.

    Each service is compared with its last good deploy, so no spec is needed. Counts are left out: they belong to the
    autoscaler and to whoever holds one. Deploying the spec again repairs what is found; plan shows that beforehand.

    Ends with 0 when all is as it was deployed and with 1 when something is not, so that a pipeline can watch by it.
    """
    with run.session() as session:
        found = workflow.drift(session, names or ())
    drifted = any(one.state is workflow.DriftState.DRIFTED for one in found)
    run.printer.show("drift", {"drifted": drifted, "services": found}, lambda: _lines(run.printer, found))
    return ExitCode.CHANGES if drifted else ExitCode.OK


def _lines(printer: Printer, found: Sequence[workflow.ServiceDrift]) -> Iterator[str]:
    if not found:
        yield "no service of ours runs; deploy one with: hms-nomad deploy SPEC"
        return
    for one in found:
        if one.state is workflow.DriftState.CLEAN and not one.notes:
            continue
        yield f"{printer.style(one.service, 'bold')}: {_headline(one)}"
        yield from (f"  {inert(note)}" for note in one.notes)
        for part in one.objects:
            sign, color = _SIGNS.get(part.state, ("+", "green"))
            yield printer.style(f"  {sign} {part.kind} {inert(part.name)}: {part.state}", color)
            if part.state != MISSING:
                for field in part.fields:
                    yield from (f"      {line}" for line in _field(printer, field))
        if any(part.state != OVERRULED for part in one.objects):
            yield "  repair it with its spec: hms-nomad deploy SPEC"
        if any(part.state == OVERRULED for part in one.objects):
            yield "  an operator's rule decides here, which a deploy leaves alone: remove that source, then deploy SPEC"
        yield ""
    states = [one.state for one in found]
    yield ", ".join(f"{states.count(state)} {state}" for state in workflow.DriftState if state in states)


def _headline(one: workflow.ServiceDrift) -> str:
    if one.objects:
        count = len(one.objects)
        what = "1 object is" if count == 1 else f"{count} objects are"
        return f"{what} not as deploy {one.number} left it"
    return {"rolling": "not compared", "unknown": "not compared"}.get(one.state, "as it was deployed")


def _field(printer: Printer, field: DriftedField) -> Iterator[str]:
    if is_long_list(field.deployed) and is_long_list(field.found):
        yield f"{inert(field.path)}: - was deployed, + is there"
        yield from (f"    {line}" for line in changed_items(printer, field.deployed, field.found))
        return
    yield f"{inert(field.path)}: {_value(field.deployed)} was deployed, {_value(field.found)} is there"


def _value(value: Any) -> str:
    return "nothing" if value is None else inert(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
