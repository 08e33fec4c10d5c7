"""``hms-nomad promote``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import DetachSteering, ServiceArgument, TimeoutOption
from hms_nomad.cli.steering import steer
from hms_nomad.workflows.rollouts.promote import promote as workflow
from hms_nomad.workflows.rollouts.steering import SteerOptions

app = new_app()


@command(
    app, "promote", "hms-nomad promote receipt-svc", "hms-nomad promote receipt-svc --full --output json", changes=True
)
def promote(
    run: Run,
    name: ServiceArgument,
    full: Annotated[bool, typer.Option("--full", help="All the traffic at once, and on to the end.")] = False,
    detach: DetachSteering = False,
    timeout: TimeoutOption = None,
) -> int:
    """Let a rollout enter its next step without waiting.

    It ends when every caller's proxy has the new weight. Whoever drives the rollout goes on from there; with --full
    this command brings it to its end. Without a rollout nothing happens.
    """
    options = SteerOptions(timeout=timeout, detach=detach)
    with run.session() as session:
        return steer(
            run,
            "promote",
            f"Promoting {name}",
            lambda report: workflow(session, name, options, report, full=full),
            "who drives it enters the next step" if not full else "who drives it gives it all the traffic",
        )
