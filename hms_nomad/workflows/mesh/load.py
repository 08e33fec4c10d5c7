"""``load``: a steady rate of requests into the mesh, and how long the answers took from when each request was due."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct

from hms_nomad.clients.errors import InvalidRequestError, ServerError
from hms_nomad.clients.forward import Way
from hms_nomad.clients.http_call import HTTP
from hms_nomad.clients.http_load import LoadPlan, Tally, send_load
from hms_nomad.clients.load_figures import LoadResult, result_of
from hms_nomad.workflows.mesh.call import check_request, service_of
from hms_nomad.workflows.mesh.caller import Caller, targets
from hms_nomad.workflows.session import Session

_WAIT_SECONDS = 2.0
_LONGEST_SECONDS = 24 * 3600.0
_HIGHEST_RATE = 20_000.0


class LoadOptions(Struct, frozen=True):
    """``rate`` requests a second for ``seconds``; each may take ``timeout`` seconds from when it is due.

    ``identity`` is the service that the requests come from (None: this user's own), ``release`` picks instances.
    """

    method: str = "GET"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    rate: float = 50.0
    seconds: float = 10.0
    timeout: float = 15.0
    connections: int = 256
    identity: str | None = None
    release: str | None = None


def load(session: Session, url: str, options: LoadOptions, progress: Callable[[Tally], None]) -> LoadResult:
    """Send ``options.rate`` requests a second to the healthy instances of the service that ``url`` names.

    The instances are followed while the load runs. Raises InvalidRequestError for a URL that names no service of the
    mesh or a rate that cannot be kept, NotFoundError and UnavailableError when the service has no healthy instance,
    DeniedError without the right to the identity, and the other errors of ``hms_nomad.clients.errors``.
    """
    service, path = service_of(url, session.platform)
    check_request(options.method, path, options.headers)
    if not 0 < options.rate <= _HIGHEST_RATE or not 0 < options.seconds <= _LONGEST_SECONDS:
        detail = f"write a rate of up to {_HIGHEST_RATE:g} requests a second, for up to a day"
        raise InvalidRequestError("the mesh", "send a load", url, detail)
    host = f"{service}.{session.platform.mesh_domain}"
    plan = LoadPlan(
        options.method,
        path,
        {"Host": host, "User-Agent": "hms-nomad-load", **options.headers},
        options.body,
        options.rate,
        options.seconds,
        options.timeout,
        options.connections,
    )
    with _followed(session, service, options) as way:
        tally = send_load(plan, way, progress)
    return result_of(service, tally)


@contextlib.contextmanager
def _followed(session: Session, service: str, options: LoadOptions) -> Iterator[Callable[[], Way]]:
    """A way into the mesh that a thread keeps up to date: instances as Consul tells of them, certificates in time."""
    caller = Caller.of(session, options.identity)
    current = Way(targets(session, service, caller, options.release), caller.context_for((HTTP,)))
    over = threading.Event()

    def follow() -> None:
        nonlocal current, caller
        index = 0
        while not over.is_set():
            try:
                index = session.consul.instances(
                    service, passing=True, index=index, wait=_WAIT_SECONDS, connect=True
                ).index
                fresh = Caller.of(session, options.identity)
                context = current.context if fresh == caller else fresh.context_for((HTTP,))
                caller, current = fresh, Way(targets(session, service, fresh, options.release), context)
            except ServerError:
                # With a silent Consul, or without any instance left, the last ones known are as good as any.
                over.wait(_WAIT_SECONDS / 2)

    thread = threading.Thread(target=follow, name=f"instances of {service}", daemon=True)
    thread.start()
    try:
        yield lambda: current
    finally:
        over.set()
        thread.join(timeout=_WAIT_SECONDS + 1)
