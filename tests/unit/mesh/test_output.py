"""The graph as text and as Mermaid, and the sidecars as a table."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

from hms_nomad.output.mesh import graph_lines, graph_mermaid, sidecar_lines
from hms_nomad.output.mesh_svg import graph_svg
from hms_nomad.output.printer import Color, Look, Printer
from hms_nomad.workflows.mesh.overview import Edge, SidecarState

PRINTER = Printer(Look(color=Color.NEVER))
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
EDGES = (
    Edge("*", "news-svc", ("everything",), ""),
    Edge("payment-svc", "receipt-svc", ("POST /receipt", "* /files..."), "uses"),
)
SERVICES = ("lonely-svc", "news-svc", "payment-svc", "receipt-svc")


def sidecar(**changes):
    fields = {
        "service": "receipt-svc",
        "allocation": "8fb80591-aaaa",
        "node": "n1",
        "address": "10.0.0.1:2000",
        "release": "r1",
        "status": "passing",
        "identity": "spiffe://x/svc/receipt-svc",
        "issued": NOW - timedelta(minutes=90),
        "expires": NOW + timedelta(days=3),
        "sync": "in sync",
        "requests": 10,
        "success": 90.0,
        "p50_ms": 1.26,
        "p99_ms": 5.0,
        "problems": (),
    }
    return SidecarState(**(fields | changes))


def test_the_graph_lists_what_each_caller_may():
    assert list(graph_lines(PRINTER, SERVICES, EDGES, default_allow=False)) == [
        "everybody",
        "  -> news-svc: everything",
        "payment-svc",
        "  -> receipt-svc: POST /receipt; * /files... (uses)",
        "without any right between them: lonely-svc",
    ]


def test_a_mesh_that_allows_by_default_says_so_first():
    first = next(iter(graph_lines(PRINTER, SERVICES, EDGES, default_allow=True)))
    assert "default_intention_policy" in first


def test_mermaid_draws_each_right_as_an_arrow():
    lines = list(graph_mermaid(SERVICES, EDGES))
    assert lines[0] == "flowchart LR"
    assert '  s2["payment-svc"]' in lines
    assert '  s2 -->|"POST /receipt; * /files..."| s3' in lines
    assert '  s4["everybody"]' in lines


def test_a_sidecar_is_a_row_and_its_problems_stand_below():
    lines = list(sidecar_lines(PRINTER, [sidecar(problems=("counts not read: no connection",))], NOW))
    assert lines[0].split()[:4] == ["SERVICE", "INSTANCE", "ADDRESS", "RELEASE"]
    assert lines[1].split() == [
        "receipt-svc", "8fb80591", "10.0.0.1:2000", "r1", "passing", "in", "sync", "1h", "3d", "10", "90.00%", "1.3ms",
        "5.0ms",
    ]  # fmt: skip
    assert lines[2] == "receipt-svc 8fb80591: counts not read: no connection"


def test_what_could_not_be_read_shows_a_dash():
    blank = sidecar(issued=None, expires=None, sync="unknown", requests=None, success=None, p50_ms=None, p99_ms=None)
    assert list(sidecar_lines(PRINTER, [blank], NOW))[1].split()[-6:] == ["-", "-", "-", "-", "-", "-"]


def test_a_picture_stands_by_itself_and_callers_are_left_of_those_they_call():
    edges = (*EDGES, Edge("receipt-svc", "payment-svc", ("GET /<x>",), ""))
    root = ET.fromstring("\n".join(graph_svg(SERVICES, edges)))  # noqa: S314
    texts = {"".join(one.itertext()): one for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"everybody", *SERVICES} <= set(texts)
    assert int(texts["everybody"].get("x")) < int(texts["news-svc"].get("x"))
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "POST /receipt; * /files... (uses)" in titles
    assert "GET /<x>" in titles
    assert ET.fromstring("\n".join(graph_svg((), ()))).tag.endswith("svg")  # noqa: S314
