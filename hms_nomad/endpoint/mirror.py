"""Consul's catalog and entries -> the whole registry in memory, kept as new as Consul says, and knowing how old it is.

Blocking queries wait for news of everything that an answer is made of; on news all of it is read again. Each of them
returns after some seconds without news, too: that confirms what is held, and is what the age of an answer counts from.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.errors import ServerError
from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.compile.names import short_hash
from hms_nomad.output.document import plain
from hms_nomad.registry import Registry, Service

STALE_SECONDS = 10.0
"""An answer that nothing has confirmed for so long says that it is stale."""

_QUERY_SECONDS = 5.0
_READ_SECONDS = 30.0
_PAUSE_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_KINDS = ("service-defaults", "service-resolver", "service-router", ROUTE_KIND)
# The age belongs to the answer as a whole.
_SAID_ELSEWHERE = frozenset({"age_seconds", "stale"})
_NOTHING = short_hash(None, 16)


class Held(Struct, frozen=True):
    """An answer as it stands: ``value`` is None for an unknown name.

    ``index`` changes with what is said, ``stale`` included. ``age_seconds`` have passed since Consul confirmed it;
    ``reason`` says why Consul cannot be asked now.
    """

    index: str
    age_seconds: float
    stale: bool
    reason: str
    value: Any


class _Page(Struct, frozen=True):
    """What was read at one moment: each service as plain data, and an index of each."""

    services: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    indexes: Mapping[str, str] = msgspec.field(default_factory=dict)
    read_at: float = 0.0


class Mirror:
    """The registry of one cluster in memory. Threads may share one."""

    def __init__(self, registry: Registry, consul: ConsulClient) -> None:
        """``registry`` is read on news, of which ``consul`` tells; it should not try calls again by itself."""
        self._registry = registry
        self._consul = consul
        self._lock = threading.Lock()
        self._page: _Page | None = None
        self._confirmed: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._dirty = threading.Event()
        self._news = 0
        self._unread_since = math.inf
        self._over = threading.Event()
        self._tell: Callable[[], None] = lambda: None

    def start(self, tell: Callable[[], None]) -> None:
        """Follow Consul on threads of its own until ``stop``; ``tell`` is called whenever an answer may be another."""
        self._tell = tell
        for name, ask in self._sources().items():
            threading.Thread(target=self._follow, args=(name, ask), name=f"registry {name}", daemon=True).start()
        threading.Thread(target=self._keep_reading, name="registry", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end with their present query."""
        self._over.set()
        self._dirty.set()

    @property
    def ready(self) -> bool:
        """Whether Consul has ever been read."""
        return self._page is not None

    def service(self, name: str) -> Held:
        """One service. Raises LookupError while nothing has been read yet."""
        return self._held(lambda page: (page.indexes.get(name, _NOTHING), page.services.get(name)))

    def services(self) -> Held:
        """Every service, by name. Raises LookupError while nothing has been read yet."""
        return self._held(
            lambda page: (short_hash(sorted(page.indexes.items()), 16), [page.services[name] for name in page.services])
        )

    def fresh_seconds(self) -> float:
        """How many seconds are left until what is held gets stale by itself; 0 when it is."""
        with self._lock:
            if self._page is None or self._failures:
                return 0.0
            return max(0.0, self._as_of(self._page) + STALE_SECONDS - time.monotonic())

    @property
    def reason(self) -> str:
        """Why Consul cannot be asked now; "" when it can."""
        with self._lock:
            return self._reason()

    def _held(self, pick: Callable[[_Page], tuple[str, Any]]) -> Held:
        with self._lock:
            if self._page is None:
                raise LookupError(self._reason() or "Consul has not been read yet")
            index, value = pick(self._page)
            age = max(0.0, time.monotonic() - self._as_of(self._page))
            stale = bool(self._failures) or age > STALE_SECONDS
            reason = (self._reason() or f"Consul has confirmed nothing for {age:.0f} s") if stale else ""
        return Held(f"{index}-stale" if stale else index, round(age, 1), stale, reason, value)

    def _reason(self) -> str:
        return next(iter(self._failures.values()), "")

    def _as_of(self, page: _Page) -> float:
        """When Consul last said all of what is held: all queries confirmed it, and none had news that were not read."""
        confirmed = [self._confirmed.get(name, 0.0) for name in self._sources()]
        return max(page.read_at, min(*confirmed, self._unread_since))

    def _sources(self) -> Mapping[str, Callable[[int, float], int]]:
        consul = self._consul
        return {
            "services": lambda index, wait: consul.services(index, wait).index,
            "checks": lambda index, wait: consul.watch_checks(index, wait).index,
            **{kind: partial(self._entries, kind) for kind in _KINDS},
        }

    def _entries(self, kind: str, index: int, wait: float) -> int:
        return self._consul.watch_entries(kind, index, wait).index

    def _follow(self, name: str, ask: Callable[[int, float], int]) -> None:
        index = 0
        while not self._over.is_set():
            try:
                answered = ask(index, _QUERY_SECONDS)
            except ServerError as error:
                index = 0
                self._fail(name, error)
                self._over.wait(_RETRY_SECONDS)
                continue
            self._recover(name)
            with self._lock:
                if answered == index:
                    self._confirmed[name] = time.monotonic()
                else:
                    self._news += 1
                    self._unread_since = min(self._unread_since, self._confirmed.get(name, 0.0))
                    self._dirty.set()
            index = answered

    def _keep_reading(self) -> None:
        """Read all of it on news, and now and then without; half of the time at most, however much there is to read."""
        while not self._over.is_set():
            with self._lock:
                self._dirty.clear()
                began, known = time.monotonic(), self._news
            try:
                page = _page_of(self._registry.list_services(), began)
            except ServerError as error:
                self._fail("read", error)
                self._over.wait(_RETRY_SECONDS)
                continue
            with self._lock:
                self._page = page
                if self._news == known:
                    self._unread_since = math.inf
            self._recover("read")
            self._tell()
            self._over.wait(max(_PAUSE_SECONDS, time.monotonic() - began))
            self._dirty.wait(_READ_SECONDS)

    def _fail(self, name: str, error: ServerError) -> None:
        with self._lock:
            first = not self._failures
            self._failures[name] = f"Consul cannot be asked: {error.detail}"
        if first:
            self._tell()

    def _recover(self, name: str) -> None:
        with self._lock:
            last = self._failures.pop(name, None) is not None and not self._failures
        if last:
            # What changed meanwhile was told to nobody.
            self._dirty.set()
            self._tell()


def _page_of(services: tuple[Service, ...], read_at: float) -> _Page:
    told = [name for name in Service.__struct_fields__ if name not in _SAID_ELSEWHERE]
    rows = {one.name: {name: plain(getattr(one, name)) for name in told} for one in services}
    return _Page(rows, {name: short_hash(row, 16) for name, row in rows.items()}, read_at)
