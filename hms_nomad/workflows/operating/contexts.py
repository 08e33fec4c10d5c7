"""Name -> where a context leads, and where each address and token comes from; no token is ever shown."""

from __future__ import annotations

import os

from msgspec import Struct

from hms_nomad.platform.context import CONTEXT_VARIABLE, Origin, list_contexts, load_platform, origins
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.tokens import token_source

_VARIABLES = {"nomad": "NOMAD_ADDR", "consul": "CONSUL_HTTP_ADDR", "vault": "VAULT_ADDR"}


class ServerView(Struct, frozen=True):
    """One server of a context: its address, and the words that say where address and token come from."""

    server: str
    address: str
    address_from: str
    token_from: str


class ContextView(Struct, frozen=True):
    """What commands use: ``chosen_by`` says why this context, ``name`` is "" when there is none; ``origins`` are all of
    its fields.
    """

    name: str
    chosen_by: str
    namespace: str
    region: str
    servers: tuple[ServerView, ...]
    platform: Platform
    origins: tuple[Origin, ...]


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
        origins=origins(name),
    )


def _chosen(name: str | None) -> tuple[str, str]:
    if name:
        return name, "named"
    if from_variable := os.environ.get(CONTEXT_VARIABLE):
        return from_variable, CONTEXT_VARIABLE
    current = list_contexts().current
    return (current, "current context") if current else ("", "no context is chosen: this machine's default addresses")


def _server(server: str, platform: Platform, context: str) -> ServerView:
    address_variable = _VARIABLES[server]
    where = getattr(platform, server)
    stored = f"context {context}" if context else "default"
    return ServerView(
        server=server,
        address=where.address,
        address_from=address_variable if os.environ.get(address_variable) else stored,
        token_from=token_source(server, where, platform.name),
    )
