"""``hms-nomad history``."""

from __future__ import annotations

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import ServiceArgument
from hms_nomad.output.rollouts import history_document, history_lines
from hms_nomad.workflows.rollouts.history import history as workflow

app = new_app()


@command(app, "history", "hms-nomad history receipt-svc", "hms-nomad history receipt-svc --output json")
def history(run: Run, name: ServiceArgument) -> None:
    """Show the deploys of a service: who, when, what, why, and how each ended.

    The release that serves is marked with a star. Each successful one can be rolled back to, by its number.
    """
    with run.session() as session:
        found = workflow(session, name)
    run.printer.show("history", history_document(found), lambda: history_lines(run.printer, found))
