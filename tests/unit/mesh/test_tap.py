"""Requests of a service out of its proxies' logs: where they stand, which are shown, and when it ends."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from hms_nomad.compile.access_log import access_logs
from hms_nomad.output.mesh import request_line
from hms_nomad.output.printer import Color, Format, Look, Printer
from hms_nomad.platform.model import PlatformError
from hms_nomad.workflows.mesh import tap as tapping
from hms_nomad.workflows.mesh.tap import TapOptions, tap
from hms_nomad.workflows.operating.logs import LogLine, LogOptions, follow_logs
from tests.unit.workflows.servers import FakeConsul, FakeNomad, allocation, job, session, task

A = "aaaa1111-0000-1111-2222-333333333333"


def id_of(name: str) -> str:
    return f"spiffe://x.consul/ns/default/dc/dc1/svc/{name}"


def line(**fields) -> LogLine:
    empty = dict.fromkeys(json.loads(access_logs()["JSONFormat"]))
    body = {
        **empty,
        "hms": 1,
        "start": "2026-11-25T00:40:57.235Z",
        "flags": "-",
        "method": "GET",
        "path": "/a",
        **fields,
    }
    return LogLine(A, "stdout", json.dumps(body))


def came(caller="pay", callee="a", status=200, **fields) -> LogLine:
    return line(caller=id_of(caller), callee=id_of(callee), status=status, **fields)


@pytest.fixture
def consul():
    made = FakeConsul()
    made.store("proxy-defaults", "global", {"AccessLogs": access_logs()})
    made.store("terminating-gateway", "hms-egress", {"Services": [{"Name": "db"}]})
    return made


@pytest.fixture
def lines(monkeypatch):
    """What follows comes out of the log; the jobs and tasks that were asked for are kept in ``asked``."""
    given: list[LogLine] = []
    asked: list[tuple[str, str]] = []

    def follow(_, name, options, report):
        asked.append((name, options.task))
        return iter(given)

    monkeypatch.setattr(tapping, "follow_logs", follow)
    return SimpleNamespace(given=given, asked=asked)


def tapped(consul, name="a", **options):
    found = tap(session(FakeNomad(), consul), name, TapOptions(**options), lambda event: None)
    return [one.request for one in found]


def test_who_calls_a_service_stands_in_its_sidecars(consul, lines):
    lines.given += [came(), line(cluster="b.default.dc1.internal.x.consul", status=200)]
    assert [(one.caller, one.callee) for one in tapped(consul)] == [("pay", "a")]
    assert [(one.caller, one.callee) for one in tapped(consul, outgoing=True)] == [("a", "b")]
    assert lines.asked == [("a", "connect-proxy-a")] * 2


def test_the_gateway_and_what_is_behind_the_egress_have_proxies_of_their_own(consul, lines):
    lines.given += [came(callee="db"), came(callee="mail")]
    assert [one.callee for one in tapped(consul, "db")] == ["db"]
    assert [one.callee for one in tapped(consul, "hms-egress")] == ["db", "mail"]
    lines.given[:] = [line(status=404, flags="NR", **{"from": "192.0.2.1:40"})]
    assert [one.source for one in tapped(consul, "hms-gateway", caller="192.0.2.1")] == ["192.0.2.1:40"]
    assert lines.asked == [("hms-egress", "envoy")] * 2 + [("hms-gateway", "envoy")]


@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        ({}, [200, 404, 403, 503]),
        ({"statuses": ("5xx", "404")}, [404, 503]),
        ({"method": "POST"}, [404]),
        ({"path": "/b"}, [503]),
        ({"caller": "bob"}, [403]),
        ({"caller": id_of("bob")}, [403]),
        ({"denied": True}, [403]),
        ({"request_id": "r-1"}, [200]),
        ({"limit": 2}, [200, 404]),
    ],
)
def test_only_what_is_wanted_is_shown(consul, lines, options, statuses):
    lines.given += [
        came(request_id="r-1"),
        came(status=404, method="POST"),
        came("bob", status=403, details="rbac_access_denied_matched_policy[none]"),
        came(status=503, path="/b/c?who=jane"),
    ]
    assert [one.status for one in tapped(consul, **options)] == statuses


def test_without_an_access_log_it_says_how_to_get_one(consul, lines):
    consul.store("proxy-defaults", "global", {"AccessLogs": {"Enabled": True, "JSONFormat": '{"a": 1}'}})
    with pytest.raises(PlatformError, match="somebody else described"):
        tapped(consul)
    with pytest.raises(PlatformError, match="platform access-log on"):
        tapped(FakeConsul())


def test_following_ends_in_time_however_quiet_it_is():
    nomad = FakeNomad(jobs={"a": job("a")}, allocations=[allocation(A, "a", tasks={"app": task()})])
    options = LogOptions(tail=0, until=time.monotonic())
    assert list(follow_logs(session(nomad, FakeConsul()), "a", options, lambda event: None)) == []


def test_a_request_is_one_line_with_all_that_went_wrong(consul, lines):
    lines.given.append(
        came("bob", status=403, details="rbac_access_denied_matched_policy[none]", ms=3, received=0, sent=19)
    )
    printer = Printer(Look(Format.TEXT, True, Color.NEVER))
    assert request_line(printer, tapped(consul)[0], A) == (
        "00:40:57.235  aaaa1111  bob -> a  GET /a  403  3ms  0B/19B  -  denied"
    )
    lines.given[:] = [line(status=503, flags="UF,URX", tries=4, cluster="b.default.dc1.internal.x.consul")]
    assert request_line(printer, tapped(consul, outgoing=True)[0], A).endswith("503  0ms  0B/0B  -  UF,URX  4 tries")
