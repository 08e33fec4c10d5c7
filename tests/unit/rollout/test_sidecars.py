"""A new weight counts when every caller's proxy has it; one that cannot be asked is given time."""

from __future__ import annotations

import itertools

import pytest

from hms_nomad.clients.consul_types import Instance, StoredEntry
from hms_nomad.clients.envoy import EnvoySample
from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.rollout import sidecars as module
from hms_nomad.rollout.sidecars import Sidecars

SERVICE = "receipt-svc"


class Mesh:
    """Callers by service and port; a port without counts does not answer."""

    def __init__(self, sources, ports):
        self.sources, self.ports, self.counts, self.uptimes, self.subsets = sources, ports, {}, {}, {}

    def read_entry(self, kind, name):
        return StoredEntry(kind, name, {"Sources": self.sources}, 1)

    def instances(self, service, passing=False, connect=False):
        found = self.ports.get(service, ()) if connect else ()
        return Snapshot(
            1,
            tuple(
                Instance(f"{service}-{port}", service, "n", "10.0.0.1", 1, {"metrics_port": str(port)}, (), "", ())
                for port in found
            ),
        )

    def scrape(self, address, port):
        count = self.counts.get(port)
        if count is None:
            raise UnavailableError("envoy", "read", f"{address}:{port}", "no connection")
        value = next(count) if hasattr(count, "__next__") else count
        subsets = {SERVICE: frozenset(next(self.subsets[port]))} if port in self.subsets else {}
        return EnvoySample(
            {}, (), True, {}, {}, self.uptimes.get(port, 100), route_reloads={SERVICE: value}, subsets=subsets
        )


@pytest.fixture
def mesh():
    return Mesh([{"Name": "payment", "Permissions": [{"Action": "allow"}]}, {"Name": "*", "Action": "deny"}],
                {"payment": [1, 2]})  # fmt: skip


def shift(mesh, change):
    """Ask before, change something, ask after; answers the acknowledgement and the pauses made."""
    asked, pauses = Sidecars(mesh, mesh, SERVICE), []
    before = asked.baseline()
    change()
    return asked.acknowledged(before, pauses.append), pauses


def test_every_proxy_that_took_the_routes_over_confirms(mesh):
    mesh.counts = {1: 4, 2: itertools.chain([7, 7, 7], itertools.repeat(8))}
    done, pauses = shift(mesh, lambda: mesh.counts.update({1: 5}))
    assert (done.asked, done.unasked, done.late) == (2, 0, ())
    assert pauses == [0.1, 0.1]


def test_a_proxy_that_cannot_be_asked_is_given_the_settle_time(mesh):
    mesh.counts = {1: 4}
    done, pauses = shift(mesh, lambda: mesh.counts.update({1: 5}))
    assert (done.asked, done.unasked) == (1, 1)
    assert sum(pauses) == pytest.approx(module.SETTLE_SECONDS, abs=0.5)
    assert str(done).startswith("1 callers' proxies confirmed; 1 cannot be asked (")


def test_where_anybody_may_call_the_settle_time_passes_too(mesh):
    mesh.sources = [{"Name": "*", "Action": "allow"}]
    done, pauses = shift(mesh, lambda: None)
    assert (done.asked, done.unasked) == (0, 1)
    assert sum(pauses) == pytest.approx(module.SETTLE_SECONDS, abs=0.5)


def test_a_proxy_that_restarted_or_went_has_nothing_old_left(mesh):
    mesh.counts = {1: 4, 2: 7}

    def change():
        mesh.counts[1], mesh.uptimes[1] = 1, 3
        mesh.ports["payment"] = [1]

    done, pauses = shift(mesh, change)
    assert (done.late, pauses) == ((), [])


def test_a_proxy_that_never_confirms_is_named(mesh, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_ACKNOWLEDGEMENT_SECONDS", 0.01)
    mesh.counts = {1: 4, 2: 7}
    done, _ = shift(mesh, lambda: mesh.counts.update({1: 5}))
    assert done.late == ("payment-2",)
    assert "payment-2 did not confirm" in str(done)


def test_nobody_who_may_not_call_is_asked(mesh):
    mesh.sources = [{"Name": "payment", "Action": "deny"}, {"Name": "other", "Permissions": [{"Action": "deny"}]}]
    done, pauses = shift(mesh, lambda: None)
    assert (done.asked, done.unasked, pauses) == (0, 0, [])
    assert str(done).startswith("nobody calls it yet")


def test_a_release_is_forgotten_when_no_proxy_knows_its_subset(mesh):
    mesh.counts = {1: 4, 2: 7}
    mesh.subsets = {1: itertools.repeat(["r2"]), 2: itertools.chain([["r1", "r2"]] * 3, itertools.repeat(["r2"]))}
    pauses = []
    done = Sidecars(mesh, mesh, SERVICE).forgotten("r1", 15.0, pauses.append)
    assert (done.asked, done.unasked, done.late, pauses) == (2, 0, (), [0.1] * 3)


def test_a_proxy_that_never_forgets_is_named_and_one_that_cannot_be_asked_is_given_time(mesh, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_ACKNOWLEDGEMENT_SECONDS", 0.01)
    mesh.counts, mesh.subsets = {1: 4}, {1: itertools.repeat(["r1", "r2"])}
    pauses = []
    done = Sidecars(mesh, mesh, SERVICE).forgotten("r1", 0.0, pauses.append)
    assert (done.asked, done.unasked, done.late) == (0, 1, ("payment-1",))
    assert pauses[-1] == pytest.approx(module.SETTLE_SECONDS, abs=0.5)
