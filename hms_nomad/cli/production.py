"""Before a change on a production cluster: whoever runs the command has to say its name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from hms_nomad.output.printer import is_terminal
from hms_nomad.platform.model import Platform


def confirm_production(platforms: Sequence[Platform], confirmed: str | None) -> None:
    """Ask on a terminal for the name of each production context, unless ``--confirm`` named it already.

    ``confirmed`` is what ``--confirm`` says: names with commas between them. Raises BadParameter for a name that is not
    that of the context, and where nobody can be asked.
    """
    given = [name.strip() for name in (confirmed or "").split(",") if name.strip()]
    names = [platform.name for platform in platforms]
    if strangers := [name for name in given if name not in names]:
        raise typer.BadParameter(f"{strangers[0]} is not changed here, but {', '.join(names)}", param_hint="--confirm")
    for platform in platforms:
        if platform.production and platform.name not in given:
            _ask(platform.name)


def _ask(name: str) -> None:
    if not is_terminal(sys.stdin):
        raise typer.BadParameter(f"{name} is a production cluster; say --confirm {name}", param_hint="--confirm")
    typed = typer.prompt(f"This changes a production cluster. Type its name, {name}, to go on", err=True)
    if str(typed).strip() != name:
        raise typer.BadParameter(f"that is not {name}; nothing was changed", param_hint="--confirm")
