"""The registry for programs: a name -> where its service lives now, from Consul's catalog.

    from hms_nomad.registry import lookup, watch

    lookup("receipt-svc").url                  # "http://receipt-svc.mesh/receipt"
    for service in watch("receipt-svc"):       # at once, and whenever something changes
        print(service.version, service.healthy)

A context says which cluster is asked, as on the command line. A program that asks often keeps a ``Registry`` open: its
answers may come from memory, and say how old they are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.clients.errors import NotFoundError, UnavailableError
from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.platform.context import load_platform
from hms_nomad.rollout.wake import News
from hms_nomad.workflows.mesh import registry as book
from hms_nomad.workflows.mesh.registry import AnsweredRoute as AnsweredRoute  # noqa: PLC0414 - offered here too
from hms_nomad.workflows.mesh.registry import Endpoint as Endpoint  # noqa: PLC0414
from hms_nomad.workflows.platform.gateway import gateway_routes
from hms_nomad.workflows.platform.gateway_rows import GatewayRoute
from hms_nomad.workflows.session import Session, open_session

_MAX_AGE_SECONDS = 1.0
_QUERY_SECONDS = 30.0
_ENTRIES = ("service-resolver", "service-router")


class Service(Struct, frozen=True):
    """What the registry says of a service.

    ``version`` and ``release`` are those that get the traffic; ``url`` is the one inside the mesh, ``gateway_urls``
    are those from outside; ``port`` is where an instance itself listens (0: no instance says so). ``healthy`` counts
    the ``endpoints`` that pass every check. ``age_seconds`` is how old the answer was when it was given; ``stale`` says
    that Consul could not be asked for a newer one.
    """

    name: str
    version: str
    release: str
    url: str
    gateway_urls: tuple[str, ...]
    protocol: str
    port: int
    owner: str
    routes: tuple[AnsweredRoute, ...]
    healthy: int
    endpoints: tuple[Endpoint, ...]
    age_seconds: float = 0.0
    stale: bool = False


class Registry:
    """An open way to the registry of one cluster, for programs that ask often. Threads may share one."""

    def __init__(self, session: Session, *, max_age: float = _MAX_AGE_SECONDS) -> None:
        """``session`` are the cluster's clients; answers from memory are at most ``max_age`` seconds old."""
        self._session = session
        self._max_age = max_age
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Service]] = {}
        self._closing = ExitStack()

    @classmethod
    def open(cls, context: str | None = None, *, max_age: float = _MAX_AGE_SECONDS) -> Registry:
        """The registry of the cluster that ``context`` names (None: the current one).

        Raises ContextError for an unknown or broken context.
        """
        closing = ExitStack()
        registry = cls(closing.enter_context(open_session(load_platform(context))), max_age=max_age)
        registry._closing = closing
        return registry

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._closing.close()

    def lookup(self, name: str) -> Service:
        """One service.

        When Consul cannot be asked, the last answer is given with ``stale`` set. Raises NotFoundError for an unknown
        name, UnavailableError when there is no last answer, and the other errors of ``hms_nomad.clients.errors``.
        """
        with self._lock:
            known = self._known.get(name)
        now = time.monotonic()
        if known is not None and now - known[0] <= self._max_age:
            return replace(known[1], age_seconds=now - known[0])
        try:
            return self._read(name)
        except UnavailableError:
            if known is None:
                raise
            return replace(known[1], age_seconds=time.monotonic() - known[0], stale=True)
        except NotFoundError:
            with self._lock:
                self._known.pop(name, None)
            raise

    def list_services(self) -> tuple[Service, ...]:
        """Every service, by name, read anew. Raises the errors of ``hms_nomad.clients.errors``."""
        routes = gateway_routes(self._session)
        return tuple(self._remember(_service(found, routes)) for found in book.list_registry(self._session))

    def watch(self, name: str) -> Iterator[Service]:
        """One service at once, and again whenever what the registry says of it has changed, without end.

        Consul is asked by blocking queries. While it cannot be asked, the last answer comes once with ``stale`` set.
        Raises NotFoundError when there is no such service to begin with; one that vanishes later ends the iteration.
        """
        news = News()
        for ask in self._sources(name):
            threading.Thread(target=news.follow, args=(ask,), name="hms-nomad-registry", daemon=True).start()
        try:
            last = self._read(name)
            yield last
            while True:
                news.wait(_QUERY_SECONDS)
                try:
                    found = self._read(name)
                except UnavailableError:
                    found = replace(last, stale=True)
                except NotFoundError:
                    return
                if found != last:
                    last = found
                    yield found
        finally:
            news.end()

    def _sources(self, name: str) -> Iterator[Callable[[int], int]]:
        """Blocking queries on everything that an answer is made of."""
        consul = self._session.consul
        yield lambda index: consul.instances(name, connect=True, index=index, wait=_QUERY_SECONDS).index
        for kind in _ENTRIES:
            yield partial(self._entry_index, kind, name)
        yield lambda index: consul.watch_entries(ROUTE_KIND, index, _QUERY_SECONDS).index

    def _entry_index(self, kind: str, name: str, index: int) -> int:
        return self._session.consul.watch_entry(kind, name, index, _QUERY_SECONDS).index

    def _read(self, name: str) -> Service:
        found = book.lookup(self._session, name)
        return self._remember(_service(found, gateway_routes(self._session)))

    def _remember(self, service: Service) -> Service:
        with self._lock:
            self._known[service.name] = (time.monotonic(), service)
        return service


def lookup(name: str, context: str | None = None) -> Service:
    """One service of the cluster that ``context`` names (None: the current one).

    Raises NotFoundError for an unknown name, ContextError, and the other errors of ``hms_nomad.clients.errors``.
    """
    with Registry.open(context) as registry:
        return registry.lookup(name)


def list_services(context: str | None = None) -> tuple[Service, ...]:
    """Every service of a cluster, by name. Raises ContextError and the errors of ``hms_nomad.clients.errors``."""
    with Registry.open(context) as registry:
        return registry.list_services()


def watch(name: str, context: str | None = None) -> Iterator[Service]:
    """One service at once, and again whenever something of it changes; see ``Registry.watch``."""
    with Registry.open(context) as registry:
        yield from registry.watch(name)


def _service(found: book.Registered, routes: tuple[GatewayRoute, ...]) -> Service:
    urls = (route.url for route in routes if route.service == found.name and route.bound and route.url)
    return Service(
        name=found.name,
        version=found.version,
        release=found.release,
        url=found.url,
        gateway_urls=tuple(dict.fromkeys(urls)),
        protocol=found.protocol,
        port=found.port,
        owner=found.owner,
        routes=found.routes,
        healthy=found.healthy,
        endpoints=found.endpoints,
    )
