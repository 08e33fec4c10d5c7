"""``hms-nomad resume``."""

from __future__ import annotations

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import DetachSteering, InClusterOption, ServiceArgument, TimeoutOption
from hms_nomad.cli.steering import steer
from hms_nomad.workflows.rollouts.pause import resume as workflow
from hms_nomad.workflows.rollouts.steering import SteerOptions

app = new_app()


@command(app, "resume", "hms-nomad resume receipt-svc", "hms-nomad resume receipt-svc --in-cluster", changes=True)
def resume(
    run: Run,
    name: ServiceArgument,
    detach: DetachSteering = False,
    in_cluster: InClusterOption = False,
    timeout: TimeoutOption = None,
) -> int:
    """Let a rollout go on and bring it to its end: a paused one, a detached one, or one whose process died.

    With --in-cluster the cluster's own job brings it to its end. Without a rollout nothing happens.
    """
    options = SteerOptions(timeout=timeout, detach=detach)
    with run.session() as session:
        return steer(
            run,
            "resume",
            f"Going on with {name}",
            lambda report: workflow(session, name, options, report, in_cluster=in_cluster),
            "the cluster drives it to its end" if in_cluster else "it may enter its next steps",
        )
