"""``hms-nomad drive``."""

from __future__ import annotations

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import RolloutOption, ServiceArgument, TimeoutOption
from hms_nomad.cli.steering import steer
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.workflows.rollouts.drive import drive as workflow

app = new_app()


@command(app, "drive", "hms-nomad drive receipt-svc", "hms-nomad drive receipt-svc --rollout 12")
def drive(
    run: Run,
    name: ServiceArgument,
    rollout: RolloutOption = None,
    timeout: TimeoutOption = None,
) -> int:
    """Drive a rollout to its end as it stands; a paused one stays paused, and waits for somebody to resume it.

    For machines that keep a process alive: the cluster's own job runs it (platform install rollouts). Whichever way the
    rollout ended, the exit code is 0, so that nobody starts it again; any other code means: start it again. Without a
    rollout nothing happens.
    """
    with run.session() as session:
        code = steer(
            run,
            "drive",
            f"Driving {name}",
            lambda report: workflow(session, name, report, number=rollout, timeout=timeout),
            "",
        )
    return ExitCode.OK if code == ExitCode.FAILED else code
