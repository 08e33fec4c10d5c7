"""One screen says of a rollout what an operator asks: who has how much, how it does, and what comes next."""

from __future__ import annotations

from msgspec.structs import replace

from hms_nomad.output.rollout_view import rollout_lines
from hms_nomad.rollout.drive import rollout_facts
from hms_nomad.rollout.facts import Facts, JobState
from hms_nomad.rollout.judge import Finding, Judgement, Measured
from hms_nomad.rollout.machine import decide
from tests.unit.rollout.world import ROLLOUT


def screen(**changes):
    facts = Facts(
        rollout=replace(ROLLOUT, step=1, step_since=1.0),
        prepared=True,
        weight=10.0,
        job=JobState.CANDIDATE,
        healthy=True,
        acknowledged=True,
        probed=True,
        measuring=True,
        elapsed=12.3,
        passing={"r1": 2, "r2": 2},
        progress="2 of 2 new instances healthy",
        judged=Judgement(
            Finding.GOOD,
            "success 100 %, 0 of 57 requests",
            Measured(57, 0, 0.6, 4.9, 2),
            Measured(500, 1, 0.5, 5.1, 2),
        ),
    )
    facts = replace(facts, **changes)
    return list(rollout_lines(rollout_facts(facts, decide(facts))))


def test_a_step_shows_both_releases_weights_set_and_measured_and_judged_numbers():
    assert screen() == [
        "canary: hold, step 2 of 4: 1 % [10 % 12/30 s] 50 % 100 %",
        "     RELEASE  VERSION  HEALTHY  SET   MEASURED  REQUESTS  SUCCESS  P50   P99",
        "old  r1       1.0.0    2        90 %  89.8 %    500       99.8 %   0 ms  5 ms",
        "new  r2       2.0.0    2        10 %  10.2 %    57        100 %    1 ms  5 ms",
        "2 of 2 new instances healthy",
        "success 100 %, 0 of 57 requests",
    ]


def test_before_any_traffic_nothing_is_claimed():
    lines = screen(weight=None, prepared=False, judged=Judgement(), measuring=False, progress="")
    assert lines[0] == "canary: prepare, step 2 of 4: 1 % [10 %] 50 % 100 %"
    assert lines[2].split() == ["old", "r1", "1.0.0", "2", "-", "-", "0", "-", "-", "-"]


def test_what_is_waited_for_is_said_once():
    waiting = "1 of 2 new instances healthy"
    assert screen(healthy=False, progress=waiting, measuring=False).count(waiting) == 1


def test_machines_get_what_the_screen_shows():
    facts = Facts(rollout=ROLLOUT, weight=10.0, passing={"r1": 2}, judged=Judgement(new=Measured(1), old=Measured(3)))
    told = rollout_facts(facts, decide(facts))
    assert (told["weight"], told["stable"]["share"], told["candidate"]["share"]) == (10.0, 75.0, 25.0)
    assert (told["stable"]["healthy"], told["candidate"]["healthy"]) == (2, 0)


def test_a_pause_is_named_and_control_characters_of_versions_do_nothing():
    paused = replace(ROLLOUT, paused=True, version="2.0\x1b[2J")
    lines = screen(rollout=paused, weight=0.0)
    assert lines[0].startswith("canary: shift, paused, step 1 of 4")
    assert lines[-1] == "paused before 1 %"
    assert "\x1b" not in "".join(lines)
