"""What the commands that steer rollouts share: showing the rollout as it goes on, and how they end."""

from __future__ import annotations

from collections.abc import Callable

from hms_nomad.apply.progress import Event, Report
from hms_nomad.cli.command import Run
from hms_nomad.output.deploys import evidence_lines
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.progress import shown
from hms_nomad.output.rollouts import steered_document, steered_lines
from hms_nomad.workflows.rollouts.steering import Steered, SteerOutcome

_ENDINGS = {
    Steered.TAKEN_BACK: ExitCode.FAILED,
    Steered.STUCK: ExitCode.UNKNOWN,
}


def steer(
    run: Run,
    command: str,
    title: str,
    work: Callable[[Report], SteerOutcome],
    noted: str,
    *,
    asked_back: bool = False,
    looks_on: bool = False,
) -> int:
    """Run a steering workflow and print what it came to.

    ``asked_back`` says that taking back is the success, ``looks_on`` that others drive the rollout.
    """
    outcome = followed(run, title, work, looks_on=looks_on)
    run.printer.show(command, steered_document(outcome), lambda: steered_lines(run.printer, outcome, noted))
    for warning in outcome.warnings:
        run.printer.warn(f"warning: {warning}")
    if not asked_back and outcome.failure is not None and outcome.failure.allocation is not None:
        for line in evidence_lines(outcome.failure):
            run.printer.warn(line)
    if asked_back:
        ends = {Steered.SUCCEEDED: ExitCode.CONFLICT, Steered.STUCK: ExitCode.UNKNOWN}
        return ends.get(outcome.status, ExitCode.OK)
    return _ENDINGS.get(outcome.status, ExitCode.OK)


def followed(run: Run, title: str, work: Callable[[Report], SteerOutcome], *, looks_on: bool = False) -> SteerOutcome:
    """Show a rollout while ``work`` goes on with it; it is safe to interrupt, and the word says how to go on.

    ``looks_on`` says that others drive it: the interrupt then ends the looking alone.
    """
    events: list[Event] = []
    try:
        with shown(run.printer, title, events) as report:
            return work(report)
    except KeyboardInterrupt as stopped:
        last = next((event.message for event in reversed(events) if event.kind == "rollout"), "nothing was changed")
        if looks_on:
            raise type(stopped)(f"no longer watched: {last}") from None
        raise type(stopped)(
            f"interrupted; traffic stays as it is: {last}; hms-nomad resume goes on, hms-nomad abort takes it back"
        ) from None
