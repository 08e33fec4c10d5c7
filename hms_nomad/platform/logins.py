"""Tokens of ``hms-nomad login``: one file (0600) for each server of a context, beside the contexts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hms_nomad.platform.context import ContextError, contexts_directory, keep_private


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """A token, and the address of the server that gave it; ``ends`` is in seconds since 1970, 0 for never."""

    token: str = field(repr=False)
    address: str
    ends: float

    @property
    def until(self) -> str:
        """The end as people read it, in UTC."""
        return f"{datetime.fromtimestamp(self.ends, UTC):%Y-%m-%d %H:%M} UTC"


def kept_login(context: str, server: str, address: str) -> KeptLogin | None:
    """The login to a server of a context; None without one, after its end, and for another address than it was made to.

    Raises ContextError for a file that others can read.
    """
    if not context:
        return None
    file = _file(context, server)
    try:
        mode = file.stat().st_mode
        body = json.loads(file.read_text(encoding="utf-8"))
        kept = KeptLogin(str(body["token"]), str(body["address"]), float(body["ends"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if mode & 0o077:
        raise ContextError(f"the login in {file} can be read by others; end it with: hms-nomad logout {server}")
    return kept if kept.address == address and (not kept.ends or kept.ends > time.time()) else None


def keep_login(context: str, server: str, login: KeptLogin) -> Path:
    """Keep a login for later commands, and answer the file."""
    file = _file(context, server)
    body = {"token": login.token, "address": login.address, "ends": login.ends}
    keep_private(file, json.dumps(body) + "\n")
    return file


def forget_login(context: str, server: str) -> bool:
    """Remove a login; False when there was none."""
    try:
        _file(context, server).unlink()
    except FileNotFoundError:
        return False
    return True


def _file(context: str, server: str) -> Path:
    return contexts_directory() / "logins" / context / f"{server}.json"
