"""``hms-nomad watch``."""

from __future__ import annotations

from hms_nomad.apply.progress import Event
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import RolloutOption, ServiceArgument, TimeoutOption
from hms_nomad.cli.steering import steer
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.rollouts import steered_document
from hms_nomad.workflows.rollouts.steering import Steered
from hms_nomad.workflows.rollouts.watch import watch as workflow
from hms_nomad.workflows.session import Session

app = new_app()


@command(app, "watch", "hms-nomad watch receipt-svc", "hms-nomad watch receipt-svc --rollout 12 --output json")
def watch(run: Run, name: ServiceArgument, rollout: RolloutOption = None, timeout: TimeoutOption = None) -> int:
    """Follow a rollout that others drive: releases, weights set and measured, health, step, judged numbers.

    Nothing is changed. With --rollout it also says how one ended that is over, so that a pipeline misses no end. With
    --output json each event is a JSON document on a line of its own, and so is the end. Exit code 5: the release was
    taken back.
    """
    with run.session() as session:
        if run.printer.json:
            return _stream(run, session, name, timeout, rollout)
        return steer(
            run,
            "watch",
            f"Watching {name}",
            lambda report: workflow(session, name, report, timeout, rollout),
            "",
            looks_on=True,
        )


def _stream(run: Run, session: Session, name: str, timeout: float | None, rollout: int | None) -> int:
    def report(event: Event) -> None:
        run.printer.record("watch-event", {"kind": event.kind, "message": event.message, "data": event.data})

    outcome = workflow(session, name, report, timeout, rollout)
    run.printer.record("watch", steered_document(outcome))
    return ExitCode.FAILED if outcome.status is Steered.TAKEN_BACK else ExitCode.OK
