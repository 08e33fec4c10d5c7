"""What ``scale`` prints for people and machines."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import pytest

from hms_nomad.clients.nomad_types import ScalingEvent
from hms_nomad.compile.scaling_rules import Rule, Says, Voice
from hms_nomad.platform.context import CONTEXT_VARIABLE, DIRECTORY_VARIABLE
from hms_nomad.workflows.operating import scale as workflow
from tests.unit.cli.running import run

HELD = workflow.Scaled("receipt-svc", 2, 5, 2, 10, True, "2026-11-24T23:59Z")
FREE = workflow.Scaled("receipt-svc", 2, 5, 2, 10, True, "")
EXPLAINED = workflow.Explained(
    service="receipt-svc",
    count=3,
    running=3,
    minimum=2,
    maximum=10,
    voices=(
        Voice(Rule("cpu", "nomad-apm", "avg_cpu-allocated", 70, 30, 1e6), 3.21, Says.FEWER, 2),
        Voice(Rule("latency", "prometheus", "x", 300, 240, 1e7), None, Says.UNKNOWN),
        Voice(Rule("schedule_1", minimum=4, start="0 8 * * *", minutes=60), None, Says.ASLEEP),
    ),
    target=3,
    reason="the figure of latency is missing, so nothing moves",
    hindrance="",
    held="",
    every=15.0,
    resting=2.0,
    events=(ScalingEvent(1795555018000000000, 2, 3, "scaling up because metric is within bounds", False),),
)


@pytest.fixture
def workflows(monkeypatch, tmp_path):
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.delenv(CONTEXT_VARIABLE, raising=False)
    work = SimpleNamespace(report=lambda event: None, concluded=lambda outcome: None)
    monkeypatch.setattr("hms_nomad.cli.scale.guarded", lambda *_: contextlib.nullcontext(work))
    calls = []

    def answering(name, answer):
        monkeypatch.setattr(workflow, name, lambda session, *given: (calls.append((name, given)), answer)[1])

    answering("scale", FREE)
    answering("hold_count", HELD)
    answering("release_hold", FREE)
    answering("explain_scaling", EXPLAINED)
    return calls


def test_a_count_is_set_without_naming_the_command(workflows):
    ran = run("scale", "receipt-svc", "5", "--message", "tax day")
    assert (ran.exit_code, ran.stdout.splitlines()[0]) == (0, "✓ receipt-svc: 5 instances (from 2)")
    assert workflows[0][1][:3] == ("receipt-svc", 5, "tax day")


def test_a_hold_says_until_when(workflows):
    assert run("scale", "receipt-svc", "5", "--hold", "2h").stdout == (
        "✓ receipt-svc: 5 instances, held until 2026-11-24 23:59 UTC\n"
    )
    assert workflows[0][1][:3] == ("receipt-svc", 5, 7200.0)
    document = json.loads(run("scale", "receipt-svc", "--hold", "2h", "--output", "json").stdout)
    assert document["scale"]["held"] == "2026-11-24T23:59Z"


def test_what_contradicts_itself_is_refused(workflows):
    assert run("scale", "receipt-svc").exit_code == 2
    assert run("scale", "receipt-svc", "5", "--auto").exit_code == 2
    assert run("scale", "receipt-svc", "--auto").exit_code == 0
    assert [name for name, _ in workflows] == ["release_hold"]


def test_an_explanation_shows_figures_bounds_and_what_follows(workflows):
    ran = run("scale", "explain", "receipt-svc")
    assert ran.stdout == (
        "receipt-svc: 3 of 3 instances run, bounds 2-10\n"
        "\n"
        "RULE        NOW    MORE FROM  FEWER BELOW  SAYS\n"
        "cpu         3.2 %  70 %       30 %         one fewer\n"
        "latency     -      300 ms     240 ms       unknown\n"
        "schedule_1  -      -          -            asleep\n"
        "\n"
        "Decision     3 stays 3: the figure of latency is missing, so nothing moves\n"
        "Evaluation   every 15 s, at rest for another 2 s\n"
        "Last         2026-11-24 21:16:58 UTC  2 -> 3  scaling up because metric is within bounds\n"
    )
    assert json.loads(run("scale", "explain", "receipt-svc", "--output", "json").stdout)["scaling"]["running"] == 3
