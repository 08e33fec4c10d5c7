"""The table of services: figures with units, blanks for what cannot be known, trends as bars."""

from __future__ import annotations

from hms_nomad.output.printer import Color, Look, Printer
from hms_nomad.output.top import Figures, sparkline, top_lines, use_of

FIGURES = Figures("receipt-svc", 3, 4, 2, 10, 34.21, 21.0, 48.16, 0.0, 312.4, (1.0, 2.0, 4.0), "r8814fd6fc9", "rollout")
UNKNOWN = Figures("tax-svc", 2, 2, 2, 4, None, None, None, None, None, (), "r1", "auto")


def lines(*services):
    return list(top_lines(Printer(Look(color=Color.NEVER)), services))


def test_figures_are_shown_with_their_units():
    head, row = lines(FIGURES)
    assert head.split() == [
        *("SERVICE", "INSTANCES", "BOUNDS", "CPU", "MEMORY", "REQUESTS", "ERRORS", "P99", "TREND", "RELEASE", "SCALING")
    ]
    assert row.split("  ")[0] == "receipt-svc"
    for cell in ("3/4", "2-10", "34.2 %", "21 %", "48.2/s", "0 %", "312 ms", "▃▅█", "rollout"):
        assert cell in row


def test_what_cannot_be_known_is_left_blank():
    assert lines(UNKNOWN)[1].split() == ["tax-svc", "2", "2-4", "-", "-", "-", "-", "-", "-", "r1", "auto"]


def test_the_status_of_a_service_shows_the_same_figures_on_one_line():
    assert use_of(FIGURES) == "CPU 34.2 %, memory 21 %, 48.2/s, errors 0 %, p99 312 ms"
    assert use_of(UNKNOWN) == ""


def test_without_services_the_way_to_one_is_named():
    assert "hms-nomad deploy" in lines()[0]


def test_bars_are_relative_to_the_highest():
    assert sparkline(()) == ""
    assert sparkline((0.0, 0.0)) == "▁▁"
    assert sparkline((0.0, 50.0, 100.0)) == "▁▅█"
