"""``hms-nomad events``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import SinceOption, moment
from hms_nomad.workflows import events as workflow

app = new_app()


@command(app, "events", "hms-nomad events --since 24h", "hms-nomad events --follow")
def events(
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new change, until Ctrl-C.")] = False,
    since: SinceOption = None,
) -> None:
    """Print the changes as CloudEvents, one JSON document a line, whatever --output says.

    They are the records of the audit trail: "type" is hms-nomad.COMMAND.RESULT, "subject" the service, "id" the
    record's hash, "data" the whole record.
    """
    with run.session() as session:
        for event in workflow.events(session, follow=follow, since=moment(since)):
            run.printer.stream(event)
