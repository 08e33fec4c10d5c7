"""``hms-nomad logout``."""

from __future__ import annotations

from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.workflows.operating import login as workflow
from hms_nomad.workflows.operating.login import Server

app = new_app()


@command(app, "logout", "hms-nomad logout", "hms-nomad logout vault --context production")
def logout(
    run: Run,
    server: Annotated[Server | None, typer.Argument(metavar="[SERVER]", help="One server; all when absent.")] = None,
) -> None:
    """Forget the tokens of logins, and end them at Consul and Vault. Nomad's end by themselves."""
    platform = run.platform()
    done = [str(one) for one in ([server] if server else Server) if workflow.logout(platform, one)]
    words = f"logged out of {', '.join(done)}" if done else "nobody was logged in"
    run.printer.show("logout", {"servers": done}, lambda: [words])
