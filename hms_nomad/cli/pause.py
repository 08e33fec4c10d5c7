"""``hms-nomad pause``."""

from __future__ import annotations

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.cli.steering import steer
from hms_nomad.workflows.rollouts.pause import pause as workflow

app = new_app()


@command(app, "pause", "hms-nomad pause receipt-svc", changes=True)
def pause(run: Run, name: ServiceArgument) -> int:
    """Let a rollout stay at its step until somebody resumes, promotes or aborts it.

    The new release is judged all the same, and taken back when it is bad. Without a rollout nothing happens.
    """
    with run.session() as session:
        return steer(
            run, "pause", f"Pausing {name}", lambda report: workflow(session, name, report), "it enters no further step"
        )
