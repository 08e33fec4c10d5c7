"""Who one is -> a token of a server, kept for later commands; and the way back."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from hms_nomad.clients.browser import Returned, wait_for_browser
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import DeniedError, InvalidRequestError
from hms_nomad.clients.login import Login
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.vault_login import VaultLogin
from hms_nomad.platform.context import ContextError
from hms_nomad.platform.logins import KeptLogin, forget_login, keep_login, kept_login
from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.workflows.session import connection_to

_BROWSER_SECONDS = 300.0


class Server(StrEnum):
    """The servers that one can log in to."""

    NOMAD = "nomad"
    CONSUL = "consul"
    VAULT = "vault"


class Proof(StrEnum):
    """How one proves who one is."""

    JWT = "jwt"
    USERPASS = "userpass"
    OIDC = "oidc"


PORTS = {Server.NOMAD: 4649, Server.VAULT: 8250}
"""Where a browser comes back to: the ports of the servers' own programs, which providers know already."""


@dataclass(frozen=True, slots=True)
class Way:
    """``method`` is the server's way in (of Vault its mount); ``role`` is Vault's, ``user`` that of a password.

    ``secret`` is the JWT or the password; ``port`` is where a browser comes back to.
    """

    proof: Proof
    method: str
    role: str = ""
    user: str = ""
    port: int = 0
    secret: str = field(default="", repr=False)


class LoggedIn(Struct, frozen=True):
    """A login as it may be shown; ``until`` is "" for one without an end."""

    server: Server
    context: str
    accessor: str
    rights: tuple[str, ...]
    until: str


def login(platform: Platform, server: Server, way: Way, open_page: Callable[[str], None]) -> LoggedIn:
    """Log in and keep the token for later commands with this context; ``open_page`` gets the page of an OIDC login.

    Raises ContextError for a server that the context lacks, InvalidRequestError for a way that the server has not,
    DeniedError where it does not trust the proof.
    """
    where = _where(platform, server)
    found = _tried(server, where, platform, way, open_page)
    ends = time.time() + found.seconds if found.seconds else 0.0
    kept = KeptLogin(found.token, where.address, ends)
    keep_login(platform.name, server, kept)
    return LoggedIn(server, platform.name, found.accessor, found.rights, kept.until if ends else "")


def logout(platform: Platform, server: Server) -> bool:
    """Forget a login, and end its token where the server lets one; False when there was none.

    Nomad lets nobody end a token without a management token: it ends by itself.
    """
    where = getattr(platform, server)
    kept = kept_login(platform.name, server, where.address) if where else None
    if kept is not None:
        # A token that the server has forgotten by now is as good as ended.
        with contextlib.suppress(DeniedError, InvalidRequestError):
            if server is Server.CONSUL:
                ConsulClient(connection_to(where, kept.token)).logout()
            elif server is Server.VAULT:
                VaultLogin(connection_to(where, kept.token)).logout()
    return forget_login(platform.name, server)


def _where(platform: Platform, server: Server) -> ServerAddress:
    where: ServerAddress | None = getattr(platform, server)
    if where is None:
        raise ContextError(f"the context {platform.name} names no {server}")
    return where


def _tried(
    server: Server, where: ServerAddress, platform: Platform, way: Way, open_page: Callable[[str], None]
) -> Login:
    connection = connection_to(where)
    if way.proof is Proof.USERPASS and server is not Server.VAULT:
        raise InvalidRequestError(server, "log in", where.address, "names and passwords are known to Vault alone")
    if way.proof is Proof.OIDC and server is Server.CONSUL:
        detail = "Consul's free edition has no OIDC; log in with a JWT"
        raise InvalidRequestError(server, "log in", where.address, detail)
    if server is Server.CONSUL:
        return ConsulClient(connection).login(way.method, way.secret)
    if server is Server.NOMAD:
        nomad = NomadClient(connection, platform.namespace, platform.region)
        if way.proof is Proof.JWT:
            return nomad.login(way.method, way.secret)
        nonce = secrets.token_urlsafe()
        back, redirect = _browsed(server, way, lambda to: open_page(nomad.oidc_url(way.method, to, nonce)))
        return nomad.login_oidc(way.method, redirect, nonce, back.state, back.code)
    vault = VaultLogin(connection)
    if way.proof is Proof.JWT:
        return vault.login_jwt(way.method, way.role, way.secret)
    if way.proof is Proof.USERPASS:
        return vault.login_userpass(way.method, way.user, way.secret)
    nonce = secrets.token_urlsafe()
    back, _ = _browsed(server, way, lambda to: open_page(vault.oidc_url(way.method, way.role, to, nonce)))
    return vault.login_oidc(way.method, back.state, back.code, nonce)


def _browsed(server: Server, way: Way, begin: Callable[[str], None]) -> tuple[Returned, str]:
    """What the browser brought back, and the address it came back to."""
    addresses: list[str] = []

    def told(address: str) -> None:
        addresses.append(address)
        begin(address)

    return wait_for_browser(server, way.port or PORTS[server], told, _BROWSER_SECONDS), addresses[0]
