"""What rules say of figures, what the autoscaler makes of it, and until when a hold stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hms_nomad.compile.scaling import HOLD_KEY, scaling_block
from hms_nomad.compile.scaling_rules import Says, held_until, hold, rules_of, voice, wanted
from hms_nomad.spec.loader import examine

SPEC = """\
name: receipt-svc
version: 1.0.0
image: receipt:1.0
port: 3000
scaling:
  min: 2
  max: 10
  memory: {high: 80, low: 40}
  latency_p99: 300ms
  schedule: [{at: "22:00", until: "02:00", days: [fri], min: 4}]
"""
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RULES = {rule.name: rule for rule in rules_of(scaling_block(examine(SPEC, "receipt.hms.yml").spec))}


def voices(count=4, moment=NOON, **values):
    figures = {"cpu": 50.0, "memory": 60.0, "latency": 270.0, "schedule_1": None, **values}
    return tuple(voice(rule, figures[name], count, moment) for name, rule in RULES.items())


def test_the_rules_of_a_policy_are_read_back_whole():
    assert list(RULES) == ["cpu", "memory", "latency", "schedule_1"]
    cpu = RULES["cpu"]
    assert (cpu.source, cpu.high, cpu.low, cpu.highest) == ("nomad-apm", 70, 30, 1_000_000)
    assert RULES["schedule_1"].minimum == 4


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (69.9, Says.NOTHING),
        (70.0, Says.MORE),
        (1e9, Says.NOTHING),
        (30.0, Says.NOTHING),
        (29.9, Says.FEWER),
        (-1.0, Says.NOTHING),
        (None, Says.UNKNOWN),
    ],
)
def test_a_rule_speaks_between_its_bounds_alone(value, says):
    assert voice(RULES["cpu"], value, 4, NOON).says is says


def test_one_rule_is_enough_for_more():
    assert wanted(voices(cpu=90.0, memory=10.0), 4, 2, 10) == (5, "cpu asks for more")


def test_all_must_agree_before_an_instance_goes():
    assert wanted(voices(cpu=10.0, memory=10.0), 4, 2, 10) == (4, "latency is content with 4")
    assert wanted(voices(cpu=10.0, memory=10.0, latency=100.0), 4, 2, 10)[0] == 3


def test_the_bounds_are_never_left_and_named_as_the_reason():
    assert wanted(voices(10, cpu=90.0), 10, 2, 10) == (10, "cpu asks for more, but 10 is the most that may run")
    low = voices(2, cpu=1.0, memory=1.0, latency=1.0)
    assert wanted(low, 2, 2, 10) == (2, "all rules agree to take one away, but 2 always run")


def test_a_missing_figure_moves_nothing_even_if_another_rule_asks():
    assert wanted(voices(cpu=90.0, latency=None), 4, 2, 10) == (4, "the figure of latency is missing, so nothing moves")


FRIDAY_NIGHT = datetime(2026, 11, 27, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "awake"),
    [
        (FRIDAY_NIGHT, True),
        (FRIDAY_NIGHT + timedelta(hours=2), True),
        (FRIDAY_NIGHT + timedelta(hours=3), False),
        (FRIDAY_NIGHT - timedelta(days=1), False),
    ],
)
def test_a_scheduled_minimum_counts_at_its_hours(moment, awake):
    assert (voice(RULES["schedule_1"], None, 2, moment).says is not Says.ASLEEP) is awake


def test_a_scheduled_minimum_asks_for_its_number_at_once_and_keeps_it():
    quiet = {"cpu": 1.0, "memory": 1.0, "latency": 1.0}
    assert wanted(voices(2, FRIDAY_NIGHT, **quiet), 2, 2, 10) == (4, "schedule_1 asks for more")
    assert wanted(voices(4, FRIDAY_NIGHT, **quiet), 4, 2, 10) == (4, "schedule_1 is content with 4")
    assert wanted(voices(6, FRIDAY_NIGHT, **quiet), 6, 2, 10)[0] == 5


def policy(times):
    return {"Policy": {HOLD_KEY: times}}


@pytest.mark.parametrize(
    "begin",
    [NOON, datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC), datetime(2028, 2, 29, 8, 0, 1, tzinfo=UTC)],
)
def test_a_hold_stands_until_its_end_and_no_longer(begin):
    times = hold(begin, begin + timedelta(hours=2))
    end = held_until(policy(times), begin)
    assert end is not None
    assert timedelta(0) <= end - (begin + timedelta(hours=2)) < timedelta(minutes=1)
    assert held_until(policy(times), end - timedelta(seconds=1)) == end
    assert held_until(policy(times), end) is None
    assert held_until(policy(times), end + timedelta(days=100)) is None


def test_a_policy_without_times_is_not_held():
    assert held_until({"Policy": {}}, NOON) is None
