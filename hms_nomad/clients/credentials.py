"""The host of a registry -> user and password, from the Docker configuration or a credential helper named in it.

Formats: https://docs.docker.com/reference/cli/docker/login/ and https://github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hms_nomad.clients.children import HELPERS_KEEP, child_environment
from hms_nomad.clients.errors import InvalidRequestError
from hms_nomad.patterns import lazy_pattern

_HELPER = lazy_pattern(r"[A-Za-z0-9_.-]+")
_HELPER_SECONDS = 30.0
_HUB = "https://index.docker.io/v1/"
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - the user name by which helpers mark a token
_NOTHING_KEPT = ("credentials not found", "no credentials")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password; ``identity_token`` replaces both where the registry gave one."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(secret for secret in (self.password, self.identity_token) if secret)


def docker_credentials(host: str) -> Credentials | None:
    """What the Docker configuration (DOCKER_CONFIG, else ~/.docker) knows of a registry; None: nothing.

    A helper gets the host by its standard input, never by its arguments. Raises InvalidRequestError for a configuration
    or a helper that cannot be used.
    """
    file = _docker_file()
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unusable(host, f"{file} cannot be read: {getattr(error, 'strerror', None) or 'no JSON'}") from None
    if not isinstance(body, dict):
        raise _unusable(host, f"{file} is no configuration of Docker")
    names = (host, f"https://{host}", f"http://{host}", *((_HUB,) if host == "docker.io" else ()))
    helpers = body.get("credHelpers") or {}
    for name in names:
        if helper := helpers.get(name):
            return _of_helper(str(helper), name, host)
    if (store := body.get("credsStore")) and (found := _of_helper(str(store), names[-1], host)):
        return found
    auths = body.get("auths") or {}
    return next((_of_entry(auths[name], host) for name in names if auths.get(name)), None)


def docker_configuration() -> Path | None:
    """The file in which ``docker_credentials`` looks, or None where there is none."""
    file = _docker_file()
    return file if file.is_file() else None


def _docker_file() -> Path:
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def _of_entry(entry: Mapping[str, Any], host: str) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=str(token))
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _unusable(host, "its entry in the Docker configuration is no Base64 of user:password") from None
        return Credentials(username, password)
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password") or ""))
    return None


def _of_helper(name: str, server: str, host: str) -> Credentials | None:
    if not _HELPER.fullmatch(name):
        raise _unusable(host, "the Docker configuration names a credential helper that no program can be")
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"],
            env=child_environment(HELPERS_KEEP),
            input=server,
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise _unusable(host, f"its credential helper {program} is not on PATH") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise _unusable(host, f"its credential helper {program} cannot be used ({type(error).__name__})") from None
    if done.returncode != 0:
        if any(words in (done.stdout + done.stderr).lower() for words in _NOTHING_KEPT):
            return None
        raise _unusable(host, f"its credential helper {program} ended with {done.returncode}")
    try:
        body = json.loads(done.stdout)
        username, secret = str(body["Username"]), str(body["Secret"])
    except (ValueError, KeyError, TypeError):
        raise _unusable(host, f"its credential helper {program} answers no credentials") from None
    return Credentials(identity_token=secret) if username == _IDENTITY_TOKEN else Credentials(username, secret)


def _unusable(host: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError("registry", "find its credentials", host, detail)
