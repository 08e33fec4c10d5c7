"""The registry for programs: answers from memory say how old they are, and an old one never passes for a new one."""

from __future__ import annotations

from itertools import islice

import pytest

from hms_nomad.clients.errors import NotFoundError, UnavailableError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.registry import Registry
from tests.unit.specs import spec
from tests.unit.workflows.servers import FakeConsul, FakeNomad, session, sidecar

A = "aaaaaaaa-1111-2222-3333-444444444444"
B = "bbbbbbbb-1111-2222-3333-444444444444"
PUBLIC = [{"path": "/receipt", "methods": ["POST"], "public": True}]


class WatchedConsul(FakeConsul):
    """Can be away, and answers blocking queries at once with the same index."""

    away = False

    def list_entries(self, kind):
        if self.away:
            raise UnavailableError("consul", f"list {kind}", "http://consul", "no connection")
        return super().list_entries(kind)

    def watch_entry(self, kind, name, index=0, wait=0.0):
        return Snapshot(1, self.read_entry(kind, name))

    def watch_entries(self, kind, index=0, wait=0.0):
        return Snapshot(1, self.list_entries(kind))


@pytest.fixture
def consul():
    found = WatchedConsul()
    desired = compile_spec(spec(routes=PUBLIC), Platform())
    for entry in desired.entries:
        found.store(entry.kind, entry.name, entry.body)
    meta = dict(desired.job["TaskGroups"][0]["Services"][0]["Meta"])
    found.sidecars = [sidecar(A, "receipt-svc", **meta)]
    return found


def registry_of(consul, **options):
    return Registry(session(FakeNomad(), consul), **options)


def test_a_lookup_says_where_a_service_lives(consul):
    found = registry_of(consul).lookup("receipt-svc")
    assert (found.version, found.url, found.healthy) == ("1.0.0", "http://receipt-svc.mesh/receipt", 1)
    assert [route.path for route in found.routes] == ["/receipt"]
    assert not found.stale


def test_an_unknown_name_is_told(consul):
    with pytest.raises(NotFoundError, match="no service 'nobody'"):
        registry_of(consul).lookup("nobody")


def test_a_young_answer_comes_from_memory_and_an_old_one_does_not(consul):
    remembering, forgetting = registry_of(consul, max_age=1000), registry_of(consul, max_age=-1)
    for registry in (remembering, forgetting):
        registry.lookup("receipt-svc")
    consul.sidecars = []
    assert remembering.lookup("receipt-svc").healthy == 1
    assert forgetting.lookup("receipt-svc").healthy == 0


def test_while_consul_is_away_the_last_answer_says_so(consul):
    registry = registry_of(consul, max_age=-1)
    registry.lookup("receipt-svc")
    consul.away = True
    found = registry.lookup("receipt-svc")
    assert found.stale
    assert found.age_seconds >= 0
    with pytest.raises(UnavailableError):
        registry.lookup("never-asked")


def test_all_services_are_listed(consul):
    assert [one.name for one in registry_of(consul).list_services()] == ["receipt-svc"]


def test_the_urls_from_outside_are_those_of_bound_routes(consul, monkeypatch):
    class Route:
        service, bound, url = "receipt-svc", True, "https://api.agency.gov/receipt"

    class Unbound(Route):
        bound, url = False, "https://api.agency.gov/other"

    monkeypatch.setattr("hms_nomad.registry.gateway_routes", lambda _: (Route, Route, Unbound))
    assert registry_of(consul).lookup("receipt-svc").gateway_urls == ("https://api.agency.gov/receipt",)


def test_a_watch_yields_what_changes_and_ends_with_the_service(consul, monkeypatch):
    registry = registry_of(consul)
    changes = iter(
        [
            lambda: consul.sidecars.append(sidecar(B, "receipt-svc", release="r2")),
            lambda: None,
            lambda: setattr(consul, "away", True),
            lambda: setattr(consul, "away", False),
            consul.entries.clear,
        ]
    )
    monkeypatch.setattr("hms_nomad.registry.News.follow", lambda *_: None)
    monkeypatch.setattr("hms_nomad.registry.News.wait", lambda *_: next(changes)())
    seen = [(one.healthy, one.stale) for one in islice(registry.watch("receipt-svc"), 9)]
    assert seen == [(1, False), (2, False), (2, True), (2, False)]
