"""``hms-nomad audit``: ``list`` and ``verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.apply.audit import record_facts
from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import OptionalServiceArgument, SinceOption, moment
from hms_nomad.output.audit import audit_lines
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.workflows.operating import audit as workflow

app = new_app("See who changed what, and check that the trail is whole.")


@command(app, "list", "hms-nomad audit list", "hms-nomad audit list receipt-svc --since 24h --output json")
def list_(run: Run, name: OptionalServiceArgument = None, since: SinceOption = None) -> None:
    """Show the changes that were made, oldest first: who, with which token, what, and how it ended."""
    with run.session() as session:
        records = workflow.list_audit(session, name, moment(since))
    body = {"records": [record_facts(record) for record in records]}
    run.printer.show("audit", body, lambda: audit_lines(run.printer, records))


@command(app, "verify", "hms-nomad audit verify", "hms-nomad audit verify --expect 9f2c... --output json")
def verify(
    run: Run,
    expect: Annotated[
        str, typer.Option("--expect", metavar="HASH", help="A record's hash, noted earlier, that must still be there.")
    ] = "",
) -> int:
    """Check that no record was changed, removed or put in between: each carries the hash of the one before it.

    Ends with 3 where the chain is broken. Note the last hash elsewhere: --expect then also finds an end that was cut
    off.
    """
    with run.session() as session:
        found = workflow.verify_audit(session, expect)
    for line in found.wrong:
        run.printer.warn(f"error: {line}")
    many = f"{found.records} record{'' if found.records == 1 else 's'}"
    whole = f"{run.printer.style('✓', 'green')} {many}, the chain is whole; last hash {found.last}"
    run.printer.show("audit", {"verified": found}, lambda: () if found.wrong else [whole])
    return ExitCode.CONFLICT if found.wrong else ExitCode.OK
