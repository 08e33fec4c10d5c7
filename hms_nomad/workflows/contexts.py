"""Name -> where a context leads, and where each address and token comes from; no token is ever shown."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hms_nomad.platform.context import CONTEXT_VARIABLE, list_contexts, load_platform
from hms_nomad.platform.model import Platform

_VARIABLES = {
    "nomad": ("NOMAD_ADDR", "NOMAD_TOKEN"),
    "consul": ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN"),
    "vault": ("VAULT_ADDR", "VAULT_TOKEN"),
}


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server of a context: its address, and the words that say where address and token come from."""

    server: str
    address: str
    address_from: str
    token_from: str


@dataclass(frozen=True, slots=True)
class ContextView:
    """What commands use: ``chosen_by`` says why this context, ``name`` is "" when there is none."""

    name: str
    chosen_by: str
    namespace: str
    region: str
    servers: tuple[ServerView, ...]
    platform: Platform


def view_context(name: str | None) -> ContextView:
    """What a command with ``--context NAME`` would use (None: without that option). Raises ContextError."""
    platform = load_platform(name)
    chosen, why = _chosen(name)
    return ContextView(
        name=chosen,
        chosen_by=why,
        namespace=platform.namespace,
        region=platform.region,
        servers=tuple(_server(server, platform, chosen) for server in _VARIABLES if getattr(platform, server)),
        platform=platform,
    )


def _chosen(name: str | None) -> tuple[str, str]:
    if name:
        return name, "named"
    if from_variable := os.environ.get(CONTEXT_VARIABLE):
        return from_variable, CONTEXT_VARIABLE
    current = list_contexts().current
    return (current, "current context") if current else ("", "no context is chosen: this machine's default addresses")


def _server(server: str, platform: Platform, context: str) -> ServerView:
    address_variable, token_variable = _VARIABLES[server]
    where = getattr(platform, server)
    stored = f"context {context}" if context else "default"
    token = f"file {where.token_file}" if where.token_file else "none"
    return ServerView(
        server=server,
        address=where.address,
        address_from=address_variable if os.environ.get(address_variable) else stored,
        token_from=token_variable if os.environ.get(token_variable) else token,
    )
