"""``hms-nomad abort``."""

from __future__ import annotations

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import DetachSteering, MessageOption, ServiceArgument, TimeoutOption
from hms_nomad.cli.steering import steer
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.rollouts.abort import abort as workflow
from hms_nomad.workflows.rollouts.steering import SteerOptions

app = new_app()


@command(
    app, "abort", "hms-nomad abort receipt-svc", 'hms-nomad abort receipt-svc --message "wrong totals"', changes=True
)
def abort(
    run: Run,
    name: ServiceArgument,
    message: MessageOption = "",
    detach: DetachSteering = False,
    timeout: TimeoutOption = None,
) -> int:
    """Take a rollout back: all traffic to the old release first, then the new instances stop.

    The release is then not deployed again without --force. Without a rollout nothing happens; where the new release has
    replaced the old one already, the answer says how to go back (exit code 3).
    """
    options = SteerOptions(timeout=timeout, detach=detach)
    with run.session() as session:
        return steer(
            run,
            "abort",
            f"Taking {name} back",
            lambda report: workflow(session, name, options, report, who=author(message)),
            "who drives it takes it back",
            asked_back=True,
        )
