"""A server of a context -> the token that is sent to it: of a variable, a login, a helper program or a private file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hms_nomad.clients.children import HELPERS_KEEP, child_environment
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.logins import kept_login
from hms_nomad.platform.model import ServerAddress

VARIABLES = {"nomad": "NOMAD_TOKEN", "consul": "CONSUL_HTTP_TOKEN", "vault": "VAULT_TOKEN"}
"""The servers' own variables, which win over what a context says."""

_HELPER_SECONDS = 60.0


def token_of(server: str, where: ServerAddress, context: str = "") -> str:
    """The token for a server of a context, or "" where nothing names one.

    Raises ContextError for a helper that fails, and for a file that cannot be read or that others can read.
    """
    if own := os.environ.get(VARIABLES[server]):
        return own
    if login := kept_login(context, server, where.address):
        return login.token
    if where.token_helper:
        return _of_helper(server, where.address, where.token_helper)
    return _of_file(where.token_file)


def token_source(server: str, where: ServerAddress, context: str = "") -> str:
    """The words that say where a token comes from; the token itself is not asked for."""
    if os.environ.get(VARIABLES[server]):
        return VARIABLES[server]
    if login := kept_login(context, server, where.address):
        return f"login until {login.until}" if login.ends else "login"
    if where.token_helper:
        return f"helper {where.token_helper[0]}"
    return f"file {where.token_file}" if where.token_file else "none"


def _of_helper(server: str, address: str, command: Sequence[str]) -> str:
    """What a helper prints. It may ask its user on the terminal; what it says on stderr is shown as it comes.

    Nothing that it printed stands in an error: it might be the token.
    """
    given = {**child_environment(HELPERS_KEEP), "HMS_NOMAD_SERVER": server, "HMS_NOMAD_ADDRESS": address}
    name = command[0]
    try:
        done = subprocess.run(
            list(command), env=given, stdout=subprocess.PIPE, text=True, timeout=_HELPER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ContextError(f"the token helper {name} gave no token for {server} within {_HELPER_SECONDS:g} s") from None
    except UnicodeDecodeError:
        raise ContextError(f"the token helper {name} printed something that is no token for {server}") from None
    except OSError as error:
        raise ContextError(f"the token helper {name} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise ContextError(f"the token helper {name} ended with {done.returncode} and gave no token for {server}")
    lines = done.stdout.split("\n")
    token = lines[0].strip()
    if not token or any(line.strip() for line in lines[1:]):
        raise ContextError(f"the token helper {name} has to print the token for {server} and nothing else, on one line")
    return token


def _of_file(name: str | None) -> str:
    if name is None:
        return ""
    file = Path(name)
    try:
        mode = file.stat().st_mode
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ContextError(f"the token file {name} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise ContextError(f"the token file {name} can be read by others; make it private with: chmod 600 {name}")
    return token
