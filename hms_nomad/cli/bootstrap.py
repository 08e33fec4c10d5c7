"""``hms-nomad bootstrap``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.output.exit_codes import ExitCode
from hms_nomad.output.foundation import groundwork_document, groundwork_lines
from hms_nomad.output.printer import is_terminal
from hms_nomad.output.progress import shown
from hms_nomad.plan.groundwork import Groundwork
from hms_nomad.workflows.platform import bootstrap as workflow

app = new_app()


@command(
    app,
    "bootstrap",
    "hms-nomad bootstrap --plan",
    "hms-nomad bootstrap --apply --services tax-",
    "hms-nomad bootstrap --undo --yes --output json",
    writes=True,
)
def bootstrap(
    run: Run,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would change; so does no option.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Make what is missing, and mend what differs.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what was made, and nothing of others.")] = False,
    services: Annotated[
        str, typer.Option("--services", metavar="PREFIX", help="How the names of the deployers' services begin.")
    ] = "",
    jwks_url: Annotated[
        str,
        typer.Option("--jwks-url", metavar="URL", help="Nomad's public keys as Consul and Vault reach them."),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Prepare Nomad, Consul and Vault for services: policies, ways to log in for jobs, and certificate authorities.

    Needs management rights on each server that asks for tokens. What is there already is compared first, what others
    made is left alone, and a second run changes nothing. What has to stand in the agents' own files is printed.
    """
    if plan + apply + undo > 1:
        raise typer.BadParameter("--plan, --apply and --undo exclude each other", param_hint="--apply")
    with (run if apply or undo else run.looking()).session() as session:
        work = workflow.plan_undo if undo else workflow.plan_bootstrap
        found = work(session, services, jwks_url)
        if not (apply or undo):
            _show(run, found, "planned")
            return ExitCode.CHANGES if found.effective else ExitCode.OK
        if found.effective and not yes and is_terminal(sys.stdin):
            for line in groundwork_lines(run.printer, found, "planned"):
                run.printer.note(line)
            if not typer.confirm("Remove these?" if undo else "Make these changes?", err=True):
                run.printer.warn("nothing was changed")
                return ExitCode.INTERRUPTED
        make = workflow.undo_bootstrap if undo else workflow.apply_bootstrap
        with shown(run.printer, "Undoing" if undo else "Preparing the cluster") as report:
            done = make(session, found, report)
    _show(run, done, "removed" if undo else "applied")
    return ExitCode.OK


def _show(run: Run, found: Groundwork, state: str) -> None:
    def lines() -> Iterator[str]:
        return groundwork_lines(run.printer, found, state)

    run.printer.show("bootstrap", {"state": state, **groundwork_document(found)}, lines)
