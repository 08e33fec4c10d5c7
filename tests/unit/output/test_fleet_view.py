"""A fleet's deploy: a live table on a terminal, a line for each event and each end elsewhere."""

from __future__ import annotations

import io

import pytest

from hms_nomad.apply.progress import Event
from hms_nomad.output.fleet_view import FleetTable, fleet_shown
from hms_nomad.output.fleets import FleetRow
from hms_nomad.output.printer import Look, Printer
from tests.unit.output.terminals import Terminal

NAMES = ("db", "web", "api", "tax")
GROUPS = {"app": {"healthy": 1, "unhealthy": 0, "desired": 3}}
EVENTS = (
    Event("apply", "db: service-defaults db created", {"allocation": "db"}),
    Event("fleet", "db: deployment is running", {"allocation": "db", "groups": GROUPS}),
    Event("fleet", "web: shift (step 1 of 2)", {"allocation": "web", "state": "shift", "candidate": {"healthy": 2}}),
    Event("warning", "api: the gateway is not installed", {"allocation": "api"}),
)
DONE = FleetRow("db", "1.0.0", "deployed", "r1", "3")
SAME = FleetRow("tax", "1.0.0", "unchanged", "r1", "1")
BROKEN = FleetRow("api", "1.0.0", "failed", why="crashes\x1b[2J at start")


def told(stream: io.StringIO, *, quiet: bool = False) -> str:
    with fleet_shown(Printer(Look(quiet=quiet), io.StringIO(), stream), "Deploying 4 services", NAMES) as progress:
        for event in EVENTS:
            progress.report(event)
        for row in (DONE, SAME, BROKEN):
            progress.ended(row)
        progress.say("api crashes at start")
    return stream.getvalue()


def test_off_a_terminal_each_event_is_a_line_and_so_is_each_end_that_is_news():
    assert told(io.StringIO()).splitlines() == [
        "db: service-defaults db created",
        "db: deployment is running",
        "web: shift (step 1 of 2)",
        "warning: api: the gateway is not installed",
        "db: deployed (1 of 4)",
        "api: failed (3 of 4)",
        "api crashes at start",
    ]


def test_quiet_leaves_what_has_to_be_seen():
    assert told(io.StringIO(), quiet=True).splitlines() == [
        "warning: api: the gateway is not installed",
        "api crashes at start",
    ]


def test_on_a_terminal_warnings_stay_and_the_table_counts(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    text = told(Terminal())
    assert "warning: api: the gateway is not installed" in text
    assert "api crashes at start" in text
    assert "Deploying 4 services: 1 deployed, 1 failed, 1 unchanged, 1 under way" in text
    # What was changed is told by the table of results, and not line by line.
    assert "service-defaults db created\n" not in text


def test_the_table_shows_what_failed_then_what_is_under_way_then_what_ended_last():
    table = FleetTable("Deploying", NAMES)
    assert table.counted() == "4 not begun"
    for event in EVENTS[:3]:
        table.take(event)
    assert table.lines(9) == [
        ("db", "under way", "1/3", "deployment is running"),
        ("web", "shift", "2", "shift (step 1 of 2)"),
    ]
    table.end(DONE)
    table.end(BROKEN)
    assert [line[:3] for line in table.lines(9)] == [
        ("api", "failed", ""),
        ("web", "shift", "2"),
        ("db", "deployed", "3"),
    ]
    assert table.lines(9)[0][3] == "crashes\\x1b[2J at start"
    assert [line[0] for line in table.lines(2)] == ["api", "web"]


@pytest.mark.parametrize("subject", ["east/db", "db"])
def test_a_service_is_named_by_its_cluster_where_there_are_several(subject):
    table = FleetTable("Deploying", [subject])
    context = subject.rpartition("/")[0]
    message = f"{context}: db: job registered" if context else "db: job registered"
    table.take(Event("fleet", message, {"allocation": subject}))
    assert table.lines(9) == [(subject, "under way", "", "job registered")]
    table.end(FleetRow("db", "1.0.0", "deployed", context=context))
    assert table.counted() == "1 deployed"


def test_what_is_of_no_service_is_the_titles():
    table = FleetTable("Deploying", ["db"])
    table.take(Event("build", "building receipt from 3 files", {}))
    assert table.lines(9) == []
