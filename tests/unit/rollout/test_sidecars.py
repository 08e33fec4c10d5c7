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
    """Callers by service and port: one without counts does not answer, 0 is no port, ``sick`` ones do not pass."""

    def __init__(self, sources, ports):
        self.sources, self.ports, self.counts, self.uptimes, self.subsets = sources, ports, {}, {}, {}
        self.sick = set()

    def read_entry(self, kind, name):
        return StoredEntry(kind, name, {"Sources": self.sources}, 1)

    def instances(self, service, passing=False, connect=False):
        found = [port for port in self.ports.get(service, ()) if connect and not (passing and port in self.sick)]
        return Snapshot(
            1,
            tuple(
                Instance(f"{service}-{port}", service, "n", "10.0.0.1", 1, meta, (), "", ())
                for port in found
                for meta in [{"metrics_port": str(port)} if port else {}]
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


def test_what_a_prometheus_recorded_stands_in_for_a_sidecar_that_does_not_answer():
    class Instances(Mesh):
        def instances(self, service, passing=False, connect=False):
            names = {7: "_nomad-task-0123abcd-e3c2-147d-group-app", 8: "_nomad-task-4567cdef-e3c2-147d-group-app"}
            return Snapshot(
                1,
                tuple(
                    Instance(
                        name, service, "n", "10.0.0.1", 1, {"metrics_port": str(port), "release": "r1"}, (), "", ()
                    )
                    for port, name in names.items()
                ),
            )

    mesh, asked = Instances([], {}), []
    record = EnvoySample({"2xx": 5}, (), True, {}, {}, 100, recorded=True)

    def recorded(release):
        asked.append(release)
        return {"4567cdef": record}

    mesh.counts = {7: 1}
    mixed = list(Sidecars(mesh, mesh, SERVICE, recorded).release("r1").values())
    assert (mixed[0].recorded, mixed[1], asked) == (False, record, ["r1"])
    mesh.counts = {7: 1, 8: 1}
    assert not any(found.recorded for found in Sidecars(mesh, mesh, SERVICE, recorded).release("r1").values())
    assert asked == ["r1"]
    mesh.counts = {}
    assert list(Sidecars(mesh, mesh, SERVICE).release("r1").values()) == [None, None]


def test_a_release_is_forgotten_when_no_proxy_knows_its_subset(mesh):
    mesh.counts = {1: 4, 2: 7}
    mesh.subsets = {1: itertools.repeat(["r2"]), 2: itertools.chain([["r1", "r2"]] * 3, itertools.repeat(["r2"]))}
    pauses = []
    done = Sidecars(mesh, mesh, SERVICE).forgotten("r1", 15.0, pauses.append)
    assert (done.asked, done.unasked, done.late, pauses) == (2, 0, (), [0.1] * 3)


def test_a_proxy_that_is_silent_for_a_moment_is_asked_again(mesh):
    mesh.counts = {1: 4, 2: 7}
    mesh.subsets = {1: itertools.repeat(["r2"]), 2: itertools.repeat(["r2"])}
    answers = iter((False, False))
    scrape, pauses = mesh.scrape, []

    def stalled(host, port):
        if port == 2 and not next(answers, True):
            raise UnavailableError("envoy", "read", host, "timed out")
        return scrape(host, port)

    mesh.scrape = stalled
    done = Sidecars(mesh, mesh, SERVICE).forgotten("r1", 15.0, pauses.append)
    assert (done.asked, done.unasked, done.late, pauses) == (2, 0, (), [0.1] * 2)


def test_a_proxy_that_never_forgets_is_named_and_one_that_cannot_be_asked_is_given_time(mesh, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_ACKNOWLEDGEMENT_SECONDS", 0.01)
    mesh.ports = {"payment": [1, 0]}
    mesh.counts, mesh.subsets = {1: 4}, {1: itertools.repeat(["r1", "r2"])}
    pauses = []
    done = Sidecars(mesh, mesh, SERVICE).forgotten("r1", 0.0, pauses.append)
    assert (done.asked, done.unasked, done.late) == (0, 1, ("payment-1",))
    assert pauses[-1] == pytest.approx(module.SETTLE_SECONDS, abs=0.5)


def test_a_busy_proxy_is_asked_again_before_anything_is_stopped(mesh, monkeypatch):
    mesh.counts = {1: 4}
    answered = iter([None, None, {1: 4, 2: 7}])
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        mesh.counts = next(answered) or mesh.counts

    done = Sidecars(mesh, mesh, SERVICE).forgotten("r1", 15.0, pause)
    assert (done.asked, done.unasked, done.late, pauses) == (2, 0, (), [0.1] * 3)
    monkeypatch.setattr(module, "_LONGEST_SILENCE_SECONDS", 0.01)
    mesh.counts = {1: 4}
    assert Sidecars(mesh, mesh, SERVICE).forgotten("r1", 15.0, lambda _: None).late == ("payment-2",)


def test_a_caller_whose_health_check_fails_still_sends_requests_and_is_asked(mesh):
    mesh.sick, mesh.counts = {1, 2}, {1: itertools.count(1), 2: itertools.count(1)}
    done, _ = shift(mesh, lambda: None)
    assert (done.asked, done.unasked, done.late) == (2, 0, ())
    mesh.counts, mesh.subsets = {1: 4, 2: 7}, {1: itertools.chain([["r1"]], itertools.repeat(["r2"]))}
    pauses = []
    assert Sidecars(mesh, mesh, SERVICE).forgotten("r1", 15.0, pauses.append).asked == 2
    assert pauses == [0.1]
