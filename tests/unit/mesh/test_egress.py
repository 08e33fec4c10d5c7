"""What the egress makes of a way is asked of Envoy: taken over, refused, or nobody there to ask."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hms_nomad.clients.consul_types import Instance
from hms_nomad.clients.envoy import EnvoySample
from hms_nomad.clients.errors import NotFoundError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.workflows.platform import egress
from hms_nomad.workflows.platform.egress import await_closed, reasons_of, refusals_now, verdict_on

ALLOCATION = "76df310a-0000-1111-2222-333333333333"
PLACE = {"telemetry": "10.0.0.1:9000"}
REFUSED = (
    "[2026-11-25 03:54:05.186][1][warning][config] [grpc_subscription_impl.cc:138] gRPC config for "
    "type.googleapis.com/envoy.config.cluster.v3.Cluster rejected: Error adding/updating cluster(s) "
    "{0}.default.dc1.internal.04216971-4cb0.consul: Invalid path: /nope/ca.pem"
)


def page(refusals=0, **ways):
    return EnvoySample({}, (), True, {}, {}, 1, config_refusals={"cds": refusals}, ways=ways)


class Clock:
    """Seconds pass while somebody pauses."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(egress, "time", made)
    return made


def world(monkeypatch, pages, log=(), meta=PLACE):
    """A session with one egress, whose page is the next of ``pages``, and the last of them for ever."""
    pages = list(pages)

    class Envoy:
        def scrape(self, address, port):
            assert (address, port) == ("10.0.0.1", 9000)
            return pages.pop(0) if len(pages) > 1 else pages[0]

    def logs(allocation, task, stream, **_):
        assert (allocation, task, stream) == (ALLOCATION, "envoy", "stderr")
        if log is None:
            raise NotFoundError("nomad", "read", "http://n", "no log", 404)
        return iter(log)

    id_ = f"_nomad-task-{ALLOCATION}-group-gateway-hms-egress-listener"
    one = Instance(id_, "hms-egress", "n1", "10.0.0.1", 8443, meta, (), "passing", ())
    monkeypatch.setattr(egress, "EnvoyStats", Envoy)
    consul = SimpleNamespace(instances=lambda name: Snapshot(1, (one,)))
    return SimpleNamespace(consul=consul, nomad=SimpleNamespace(logs=logs))


def asked(session, clock, *, tls=True, seconds=10.0):
    return verdict_on(session, "hms-egress", "db", clock.now + seconds, tls=tls, pause=clock.pause)


def test_a_way_that_lasts_is_taken_over(monkeypatch, clock):
    verdict = asked(world(monkeypatch, [page(), page(db=False), page(db=True)]), clock)
    assert (verdict.failure, verdict.unasked) == (None, ())
    assert clock.now - 100 >= 1


def test_without_tls_is_what_is_wanted_where_tls_is_taken_away(monkeypatch, clock):
    assert asked(world(monkeypatch, [page(db=True), page(db=False)]), clock, tls=False).failure is None


def test_what_is_refused_is_said_in_envoys_words(monkeypatch, clock):
    session = world(monkeypatch, [page(count, db=False) for count in range(3, 20)], [REFUSED.format("db")])
    failure = asked(session, clock).failure
    assert failure.reason == "Envoy refuses its configuration: Invalid path: /nope/ca.pem"
    assert (failure.allocation, failure.task, failure.lines) == (ALLOCATION, "envoy", ())


def test_an_old_way_by_tls_does_not_hide_that_the_new_one_is_refused(monkeypatch, clock):
    session = world(monkeypatch, [page(count, db=True) for count in range(20)], [REFUSED.format("db")])
    assert asked(session, clock, seconds=2).failure is not None


def test_what_was_refused_before_this_way_was_written_is_no_refusal_of_it(monkeypatch, clock):
    pages = [*(page(count) for count in range(4)), page(3, db=False)]
    assert asked(world(monkeypatch, pages, [REFUSED.format("db")]), clock, tls=False).failure is None


def test_a_log_that_comes_later_than_the_count_is_waited_for(monkeypatch, clock):
    session = world(monkeypatch, [page(count) for count in range(20)])
    written = iter([(), (), (REFUSED.format("db"),)])
    session.nomad.logs = lambda *_, **__: iter(next(written))
    assert asked(session, clock).failure.reason == "Envoy refuses its configuration: Invalid path: /nope/ca.pem"


def test_a_way_is_closed_once_no_instance_leads_there(monkeypatch, clock):
    session = world(monkeypatch, [page(db=False), page(db=False), page(mail=False)])
    assert await_closed(session, "hms-egress", "db", clock.now + 5, clock.pause) == ()
    stays = world(monkeypatch, [page(db=False)])
    assert await_closed(stays, "hms-egress", "db", clock.now + 5, clock.pause) == ("76df310a",)


def test_what_is_refused_of_others_is_not_ours(monkeypatch, clock):
    pages = [page(count, db=True) for count in range(20)]
    assert asked(world(monkeypatch, pages, [REFUSED.format("mail")]), clock).failure is None


def test_a_log_that_cannot_be_read_excuses_nothing(monkeypatch, clock):
    failure = asked(world(monkeypatch, [page(count) for count in range(20)], log=None), clock).failure
    assert failure.reason == "Envoy refuses its configuration"


def test_what_does_not_come_in_time_counts_as_refused(monkeypatch, clock):
    failure = asked(world(monkeypatch, [page(db=False)]), clock).failure
    assert failure.reason == "hms-egress did not begin to lead to db by TLS in time"


def test_an_instance_that_cannot_be_asked_is_named(monkeypatch, clock):
    verdict = asked(world(monkeypatch, [page()], meta={}), clock)
    assert (verdict.failure, verdict.unasked) == (None, ("76df310a",))


def test_only_a_count_that_grows_is_a_refusal_of_now(monkeypatch, clock):
    log = [REFUSED.format("db"), REFUSED.format("mail")]
    assert refusals_now(world(monkeypatch, [page(7)], log), "hms-egress", clock.pause) == {}
    found = refusals_now(world(monkeypatch, [page(7), page(8)], log), "hms-egress", clock.pause)
    assert found[ALLOCATION].reason.endswith("db: Invalid path: /nope/ca.pem; mail: Invalid path: /nope/ca.pem")


def test_each_cluster_of_a_line_has_its_reason():
    line = REFUSED.format("db") + ", mail.default.dc1.internal.04216971-4cb0.consul: Invalid path: b, c"
    assert reasons_of([line]) == {"db": "Invalid path: /nope/ca.pem", "mail": "Invalid path: b, c"}
    assert reasons_of(["nothing of it"]) == {}
