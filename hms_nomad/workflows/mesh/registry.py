"""``registry``: where every service lives, read from Consul's catalog and config entries; there is no second book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.clients.consul_types import Instance, StoredEntry
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.compile.canary import is_canary_name
from hms_nomad.compile.desired import OWNER, OWNER_KEY
from hms_nomad.compile.external import EXTERNAL_KEY
from hms_nomad.compile.gateway import PLATFORM_KEY
from hms_nomad.compile.routes import PATH_KEYS, whole_routes
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.session import Session

_PASSING = "passing"


class AnsweredRoute(Struct, frozen=True):
    """One path that the service answers; ``match`` is exact, prefix or regex, no ``methods`` means all of them."""

    path: str
    match: str
    methods: tuple[str, ...]


class Endpoint(Struct, frozen=True):
    """One instance as callers' sidecars reach it; ``address`` is HOST:PORT of its own sidecar."""

    allocation: str
    node: str
    address: str
    status: str
    version: str
    release: str


class Registered(Struct, frozen=True):
    """What the registry says of a service.

    ``version`` and ``release`` are those that get the traffic; ``port`` is where the instance itself listens (0: no
    instance says so). ``healthy`` counts the endpoints that pass every check.
    """

    name: str
    version: str
    release: str
    url: str
    protocol: str
    port: int
    owner: str
    routes: tuple[AnsweredRoute, ...]
    healthy: int
    endpoints: tuple[Endpoint, ...]


class _Book(Struct, frozen=True):
    """Our config entries by kind and name."""

    entries: Mapping[tuple[str, str], StoredEntry]

    def body(self, kind: str, name: str) -> Mapping[str, Any]:
        entry = self.entries.get((kind, name))
        return entry.body if entry else {}


def list_registry(session: Session) -> tuple[Registered, ...]:
    """Every service of ours, by name: three calls for all, and one for the instances of each."""
    book = _read_book(session)
    names = sorted(name for kind, name in book.entries if kind == "service-defaults")
    return tuple(side_by_side(lambda name: _registered(session, book, name), names))


def lookup(session: Session, name: str) -> Registered:
    """One service of ours. Raises NotFoundError when the registry has none of that name."""
    book = _read_book(session)
    if ("service-defaults", name) not in book.entries:
        detail = f"the registry has no service {name!r}; see hms-nomad registry list"
        raise NotFoundError("consul", f"look up {name}", session.consul.address, detail, 404)
    return _registered(session, book, name)


def _read_book(session: Session) -> _Book:
    kinds = ("service-defaults", "service-resolver", "service-router")
    found = [entry for entries in side_by_side(session.consul.list_entries, kinds) for entry in entries]
    ours = [entry for entry in found if is_service(entry)]
    return _Book({(entry.kind, entry.name): entry for entry in ours})


def is_service(entry: StoredEntry) -> bool:
    """True for an entry of a service of ours; the platform's own jobs and second names are none."""
    meta = entry.body.get("Meta") or {}
    return meta.get(OWNER_KEY) == OWNER and PLATFORM_KEY not in meta and not is_canary_name(entry.name)


def _registered(session: Session, book: _Book, name: str) -> Registered:
    sidecars = session.consul.instances(name, connect=True).value
    told = book.body("service-defaults", name).get("Meta") or {}
    outside = str(told.get(EXTERNAL_KEY) or "")
    stable = str(book.body("service-resolver", name).get("DefaultSubset") or "")
    # What runs elsewhere has no instance that could speak for it, only the way to it.
    meta = told if outside else _telling(sidecars, stable).meta
    return Registered(
        name=name,
        version=meta.get("version", ""),
        release=meta.get("release", ""),
        url=meta.get("url", ""),
        protocol=str(book.body("service-defaults", name).get("Protocol") or ""),
        port=int(outside.rpartition(":")[2] if outside else meta.get("port") or 0),
        owner=meta.get("owner", ""),
        routes=tuple(answered_routes(book.body("service-router", name))),
        healthy=sum(sidecar.status == _PASSING for sidecar in sidecars),
        endpoints=tuple(sorted(map(_endpoint, sidecars), key=lambda endpoint: (endpoint.node, endpoint.address))),
    )


_NOBODY = Instance("", "", "", "", 0, {}, (), "", ())


def _telling(sidecars: Iterable[Instance], stable: str) -> Instance:
    """An instance of the release that gets the traffic, else of the one that most have; they speak for the service."""
    releases = Counter(sidecar.meta.get("release", "") for sidecar in sidecars)
    release = stable if stable in releases else next((name for name, _ in releases.most_common(1)), "")
    return next((sidecar for sidecar in sidecars if sidecar.meta.get("release", "") == release), _NOBODY)


def answered_routes(router: Mapping[str, Any]) -> Iterator[AnsweredRoute]:
    """The routes of a service-router that ordinary requests take: those that a header chooses belong to rollouts."""
    words = {key: word for word, key in PATH_KEYS.items()}
    for route in whole_routes(router.get("Routes") or ()):
        http = (route.get("Match") or {}).get("HTTP") or {}
        for key, word in words.items():
            if http.get(key):
                yield AnsweredRoute(str(http[key]), word, tuple(method.upper() for method in http.get("Methods") or ()))


def _endpoint(sidecar: Instance) -> Endpoint:
    return Endpoint(
        allocation=allocation_of(sidecar.id),
        node=sidecar.node,
        address=f"{sidecar.address}:{sidecar.port}",
        status=sidecar.status,
        version=sidecar.meta.get("version", ""),
        release=sidecar.meta.get("release", ""),
    )


def allocation_of(service_id: str) -> str:
    """The allocation in the id under which Nomad registers an instance ("" in any other)."""
    parts = service_id.removeprefix("_nomad-task-").split("-")
    return "-".join(parts[:5]) if service_id.startswith("_nomad-task-") and len(parts) > 5 else ""
