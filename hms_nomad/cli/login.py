"""``hms-nomad login``."""

from __future__ import annotations

import getpass
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hms_nomad.cli.command import Run, command, new_app
from hms_nomad.output.printer import Printer, inert, is_terminal
from hms_nomad.workflows.operating import login as workflow
from hms_nomad.workflows.operating.login import LoggedIn, Proof, Server, Way

app = new_app()

_STDIN = "-"
_METHODS = {Proof.JWT: "jwt", Proof.USERPASS: "userpass", Proof.OIDC: "oidc"}

ServerOfLogin = Annotated[Server, typer.Argument(metavar="SERVER", help="nomad, consul or vault.")]


@command(
    app,
    "login",
    "hms-nomad login vault --user jane",
    "hms-nomad login nomad --method agency",
    "hms-nomad login consul --method ci --jwt-file /run/identity.jwt",
)
def login(
    run: Run,
    server: ServerOfLogin,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="The server's way in; of Vault the mount.")
    ] = "",
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Log in by a password, which is asked for.")] = "",
    jwt_file: Annotated[
        str, typer.Option("--jwt-file", metavar="FILE", help="Log in by the JWT in a file; - is stdin.")
    ] = "",
    role: Annotated[str, typer.Option("--role", metavar="NAME", help="Vault's role, where it has no default.")] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where the browser comes back to; 0: the server's usual.")
    ] = 0,
) -> None:
    """Log in to a server, and keep its token for later commands with this context.

    By a password with --user (Vault), by a JWT with --jwt-file (all three), else in a browser by OIDC (Nomad and
    Vault). A password is asked for on the terminal, or read from the first line of stdin. The token is kept in a file
    of mode 0600 until it ends or you log out, and sent to this server alone.
    """
    if user and jwt_file:
        raise typer.BadParameter("a name with a password and a JWT are two ways to log in", param_hint="--user")
    proof = Proof.USERPASS if user else Proof.JWT if jwt_file else Proof.OIDC
    way = Way(proof, method or _METHODS[proof], role, user, port, _secret(proof, user, jwt_file))
    done = workflow.login(run.platform(), server, way, lambda page: _open(run.printer, page))
    run.printer.show("login", {"login": done}, lambda: _lines(run.printer, done))


def _secret(proof: Proof, user: str, jwt_file: str) -> str:
    if proof is Proof.OIDC:
        return ""
    if proof is Proof.USERPASS and is_terminal(sys.stdin):
        return getpass.getpass(f"Password of {user}: ", stream=sys.stderr)
    try:
        text = sys.stdin.readline() if jwt_file in ("", _STDIN) else Path(jwt_file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(
            f"{jwt_file} cannot be read ({type(error).__name__})", param_hint="--jwt-file"
        ) from None
    secret = text.strip("\r\n")
    if not secret:
        raise typer.BadParameter("the password or the JWT is empty", param_hint="--jwt-file" if jwt_file else "--user")
    return secret


def _open(printer: Printer, page: str) -> None:
    """Show the page, and open it where this machine has a browser and somebody to look at it."""
    printer.warn(f"Log in on this page: {page}")
    if is_terminal(sys.stdin):
        webbrowser.open(page)


def _lines(printer: Printer, done: LoggedIn) -> Iterator[str]:
    end = f"until {done.until}" if done.until else "without an end"
    rights = ", ".join(map(inert, done.rights)) or "no policies"
    yield f"{printer.style('✓', 'green')} logged in to {done.server} of {inert(done.context)} {end}, with {rights}"
