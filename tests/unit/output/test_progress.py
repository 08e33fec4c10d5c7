"""Progress is a plain line each off a terminal, and a view that vanishes on one."""

from __future__ import annotations

import io

from hms_nomad.apply.progress import Event
from hms_nomad.output.printer import Look, Printer
from hms_nomad.output.progress import shown
from tests.unit.output.terminals import Terminal

EVENTS = (
    Event("apply", "service-defaults receipt-svc created", {"kind": "service-defaults"}),
    Event("allocation", "3f2a91bc app: Started: Task started by client", {"allocation": "3f2a91bc-0000"}),
    Event("allocation", "3f2a91bc is healthy\x1b[2J", {"allocation": "3f2a91bc-0000"}),
    Event("download", "nomad: 0 of 40 MiB", {"product": "nomad", "done": 0, "total": 40}),
    Event("download", "nomad: 20 of 40 MiB", {"product": "nomad", "done": 20, "total": 40}),
    Event("download", "nomad: 40 of 40 MiB", {"product": "nomad", "done": 40, "total": 40}),
    Event("registered", "Registered in service mesh", {}),
    Event("warning", "the node is nearly full", {}),
)


def told(stream: io.StringIO, *, quiet: bool = False) -> list[Event]:
    kept: list[Event] = []
    with shown(Printer(Look(quiet=quiet), io.StringIO(), stream), "Deploying receipt-svc", kept) as report:
        for event in EVENTS:
            report(event)
    return kept


def test_off_a_terminal_each_event_is_a_line():
    stream = io.StringIO()
    assert told(stream) == list(EVENTS)
    assert stream.getvalue().splitlines() == [
        "service-defaults receipt-svc created",
        "3f2a91bc app: Started: Task started by client",
        "3f2a91bc is healthy\\x1b[2J",
        "nomad: 0 of 40 MiB",
        "nomad: 40 of 40 MiB",
        "warning: the node is nearly full",
    ]


def test_quiet_leaves_the_warnings():
    stream = io.StringIO()
    assert told(stream, quiet=True) == list(EVENTS)
    assert stream.getvalue() == "warning: the node is nearly full\n"


def test_on_a_terminal_changes_stay_and_the_view_shows_the_latest_word(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    assert told(stream) == list(EVENTS)
    text = stream.getvalue()
    assert "service-defaults receipt-svc created" in text
    assert "Deploying receipt-svc" in text
    assert "3f2a91bc is healthy\\x1b[2J" in text
    assert f"{'━' * 30} nomad: 40 of 40 MiB" in text
    assert "Registered in service mesh" not in text
