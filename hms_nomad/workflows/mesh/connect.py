"""``connect``: a port of this machine leads into the mesh, to the healthy instances of one service."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable

from msgspec import Struct

from hms_nomad.clients.forward import Carried, Way, forward
from hms_nomad.clients.http_call import HTTP
from hms_nomad.workflows.mesh.caller import Caller, targets
from hms_nomad.workflows.session import Session

_PROTOCOLS = {"http": (HTTP,), "http2": ("h2",), "grpc": ("h2",)}


class Opened(Struct, frozen=True):
    """A port that leads to a service; ``url`` is what to call for one that speaks HTTP, else HOST:PORT."""

    service: str
    port: int
    url: str
    caller: str


class _Identity(Struct):
    """The certificate in use and its settings, which are made anew only when Consul has renewed it."""

    caller: Caller
    context: ssl.SSLContext


def connect(
    session: Session,
    service: str,
    port: int,
    identity: str | None,
    release: str | None,
    opened: Callable[[Opened], None],
    carried: Callable[[Carried], None],
) -> None:
    """Carry connections to ``port`` of 127.0.0.1 (0: any free one) to a service until interrupted.

    ``opened`` is told once the port is open, ``carried`` of every connection. Raises NotFoundError and UnavailableError
    when there is no instance to begin with, DeniedError without the right to the identity, InvalidRequestError when the
    port cannot be had.
    """
    defaults = session.consul.read_entry("service-defaults", service)
    protocol = str(defaults.body.get("Protocol") or "tcp") if defaults else "tcp"
    offered = _PROTOCOLS.get(protocol, ())
    caller = Caller.of(session, identity)
    targets(session, service, caller, release)
    current = _Identity(caller, caller.context_for(offered))

    def way() -> Way:
        fresh = Caller.of(session, identity)
        if fresh != current.caller:
            current.caller, current.context = fresh, fresh.context_for(offered)
        found = list(targets(session, service, fresh, release))
        random.shuffle(found)
        return Way(tuple(found), current.context)

    def listening(actual: int) -> None:
        address = f"127.0.0.1:{actual}"
        opened(Opened(service, actual, f"http://{address}" if protocol == "http" else address, caller.leaf.spiffe_id))

    forward(port, way, listening, carried)
