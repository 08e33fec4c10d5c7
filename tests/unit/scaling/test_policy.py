"""What a spec's scaling section becomes in the autoscaler's language, and what a deploy leaves alone."""

from __future__ import annotations

import pytest

from hms_nomad.compile.scaling import HOLD_KEY, scaling_block, with_hold
from hms_nomad.spec.loader import examine

SPEC = "name: receipt-svc\nversion: 1.0.0\nimage: receipt:1.0\nport: 3000\nscaling:\n  min: 2\n  max: 10\n"


def spec_with(lines=""):
    examined = examine(SPEC + "".join(f"  {line}\n" for line in lines.splitlines()), "receipt.hms.yml")
    assert examined.spec is not None, examined.diagnostics
    return examined.spec


def checks_of(lines=""):
    checks = scaling_block(spec_with(lines))["Policy"]["check"]
    return {name: body[0] for check in checks for name, body in check.items()}


def threshold(check):
    return check["strategy"][0]["threshold"][0]


def test_the_chapters_file_scales_between_its_bounds_by_70_and_30_percent_every_15_seconds():
    block = scaling_block(spec_with())
    checks = checks_of()
    assert (block["Min"], block["Max"], block["Enabled"]) == (2, 10, True)
    assert block["Policy"]["evaluation_interval"] == "15s"
    assert (threshold(checks["cpu_high"])["lower_bound"], threshold(checks["cpu_high"])["delta"]) == (70, 1)
    assert (threshold(checks["cpu_low"])["upper_bound"], threshold(checks["cpu_low"])["delta"]) == (30, -1)


def test_the_two_checks_of_a_rule_are_one_group_and_rules_are_groups_of_their_own():
    checks = checks_of("memory: {high: 80, low: 40}\nrequests_per_instance: 50\nlatency_p99: 300ms")
    groups = {name: check["group"] for name, check in checks.items()}
    assert {word for word, _, _ in (name.partition("_") for name in groups)} == set(groups.values())
    assert len(set(groups.values())) == 4


def test_one_data_point_within_the_bounds_is_enough():
    checks = checks_of("memory: {}\nrequests_per_instance: 50\nlatency_p99: 300ms")
    assert {threshold(check)["within_bounds_trigger"] for check in checks.values()} == {1}


@pytest.mark.parametrize("value", [1e9, -1.0, float("nan"), float("inf")])
def test_no_rule_moves_anything_for_a_figure_that_nobody_can_reach(value):
    for check in checks_of("memory: {}\nrequests_per_instance: 50\nlatency_p99: 300ms").values():
        bounds = threshold(check)
        assert not bounds["lower_bound"] <= value < bounds["upper_bound"]


def test_requests_and_latency_are_asked_of_prometheus_at_one_moment():
    checks = checks_of("requests_per_instance: 50\nlatency_p99: 300ms")
    assert checks["requests_high"]["source"] == checks["latency_low"]["source"] == "prometheus"
    assert checks["requests_high"]["query"] == 'hms:requests_per_instance{service="receipt-svc"}'
    assert checks["requests_high"]["query_window"] == "instant"
    assert (threshold(checks["requests_high"])["lower_bound"], threshold(checks["requests_low"])["upper_bound"]) == (
        50,
        25,
    )
    assert (threshold(checks["latency_high"])["lower_bound"], threshold(checks["latency_low"])["upper_bound"]) == (
        300,
        240,
    )


@pytest.mark.parametrize(
    ("times", "start", "duration"),
    [
        ('{at: "07:30", until: "18:00", days: [mon, fri], min: 4}', "30 7 * * 1,5", "630m"),
        ('{at: "22:00", until: "02:00", min: 4}', "0 22 * * *", "240m"),
        ('{at: "08:00", until: "08:00", days: [sun], min: 4}', "0 8 * * 0", "1440m"),
    ],
)
def test_a_scheduled_minimum_exists_at_its_hours_only(times, start, duration):
    check = checks_of(f"schedule:\n  - {times}")["schedule_1"]
    assert check["schedule"] == [{"start": start, "duration": duration}]
    assert check["strategy"] == [{"fixed-value": [{"value": 4}]}]


def test_a_deploy_keeps_a_hold():
    fresh = {"TaskGroups": [{"Name": "app", "Scaling": scaling_block(spec_with())}]}
    hold = [{"start": "0 12 24 11 *", "end": "0 10 24 11 *"}]
    held = {"TaskGroups": [{"Name": "app", "Scaling": {"Policy": {"cooldown": "1s", HOLD_KEY: hold}}}]}
    policy = with_hold(fresh, held)["TaskGroups"][0]["Scaling"]["Policy"]
    assert policy[HOLD_KEY] == hold
    assert policy["cooldown"] == "60s"
    assert with_hold(fresh, {"TaskGroups": [{"Name": "app", "Scaling": None}]}) == fresh


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("memory: {low: 90, high: 60}", "HMS260"),
        ('schedule: [{at: "08:00", until: "18:00", min: 60}]', "HMS261"),
        ('schedule: [{at: "08:00", until: "18:00", min: 2}]', "HMS261"),
        ('schedule: [{at: "8", until: "18:00", min: 4}]', "HMS1"),
        ("latency_p99: 60s", "HMS263"),
    ],
)
def test_rules_that_cannot_work_are_named(lines, code):
    examined = examine(SPEC + f"  {lines}\n", "receipt.hms.yml")
    assert any(one.code.startswith(code) for one in examined.diagnostics)
