"""``hms-nomad lock``: ``show`` and ``release``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.cli.options import OptionalServiceArgument, ServiceArgument
from hms_nomad.output.locks import lock_document, lock_lines
from hms_nomad.workflows.operating import lock as workflow

app = new_app("See who works on a service, and end a lock that was left behind.")


@command(app, "show", "hms-nomad lock show", "hms-nomad lock show receipt-svc --output json")
def show(run: Run, name: OptionalServiceArgument = None) -> None:
    """Show which services are locked, by whom, since when, and under which id."""
    with run.session() as session:
        locks = workflow.show_locks(session, name)
    run.printer.show("lock", {"locks": [lock_document(lock) for lock in locks]}, lambda: lock_lines(run.printer, locks))


@command(app, "release", "hms-nomad lock release receipt-svc --id 0b1f6c2e-5d2c-4c1e-9d53-1f0a7f8a2b11", changes=True)
def release(
    run: Run,
    name: ServiceArgument,
    lock_id: Annotated[str, typer.Option("--id", metavar="ID", help="The lock's id, as lock show prints it.")],
) -> None:
    """End a lock whose command died on another machine, without waiting until it ends by itself.

    The id makes sure that the lock is meant that you have seen. A command that still works is not harmed: it takes its
    lock again, or stops where somebody else was faster.
    """
    with run.session() as session:
        holder = workflow.release_lock(session, name, lock_id)
    done = f"{run.printer.style('✓', 'green')} {name} is free; it was held for {holder}"
    run.printer.show("lock", {"released": name, "id": holder.lock_id, "who": holder.who}, lambda: [done])
