"""What sidecars counted decides about a release, and the number that decided is said."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from hms_nomad.clients.envoy import Bucket, EnvoySample
from hms_nomad.rollout.judge import Finding, Measured, judge, measured, quantile
from tests.unit.rollout.world import POLICY

BUSY = Measured(requests=1_000, failed=0, p50_ms=2.0, p99_ms=20.0, instances=2)


def sample(*, good=0, bad=0, missing=0, latency=(), uptime=100):
    requests = {"1xx": 0, "2xx": good, "3xx": 0, "4xx": missing, "5xx": bad}
    return EnvoySample(requests, tuple(Bucket(*bucket) for bucket in latency), True, {}, {}, uptime)


def test_a_good_release_is_good_and_its_numbers_are_said():
    judged = judge(POLICY, Measured(requests=231, failed=1, p50_ms=1.0, p99_ms=9.0, instances=2), BUSY)
    assert (judged.finding, judged.text) == (Finding.GOOD, "success 99.5 %, 1 of 231 requests, p50 1 ms, p99 9 ms")


def test_errors_take_a_release_back_with_the_number_that_halted_it():
    judged = judge(POLICY, Measured(requests=231, failed=3, instances=2), BUSY)
    assert (judged.finding, judged.text) == (Finding.BAD, "success 98.7 % < 99 %, 3 of 231 requests")


def test_a_share_just_below_the_limit_never_reads_as_the_limit():
    judged = judge(POLICY, Measured(requests=10_000, failed=101, instances=2), BUSY)
    assert judged.text.startswith("success 98.9 % < 99 %")


def test_what_callers_do_wrong_is_not_the_releases_fault():
    assert measured({}, {"a": sample(good=10, missing=90)}).failed == 0


def test_a_slow_release_is_taken_back_only_where_the_spec_limits_latency():
    slow = replace(BUSY, p99_ms=812.0)
    assert judge(POLICY, slow, BUSY).finding is Finding.GOOD
    judged = judge(replace(POLICY, p99_ms=500.0), slow, BUSY)
    assert (judged.finding, judged.text) == (Finding.BAD, "p99 812 ms > 500 ms, 1000 requests")


def test_what_is_as_bad_in_the_old_release_is_not_blamed_on_the_new_one():
    both = Measured(requests=100, failed=10, instances=2)
    assert judge(POLICY, both, both).finding is Finding.SHARED
    assert judge(POLICY, both, replace(both, failed=9)).finding is Finding.BAD
    assert judge(POLICY, both, Measured(requests=5, failed=5)).finding is Finding.BAD
    slow = replace(BUSY, p99_ms=900.0)
    assert judge(replace(POLICY, p99_ms=500.0), slow, slow).finding is Finding.SHARED


def test_too_few_requests_say_nothing_and_how_many_there_were_is_said():
    judged = judge(POLICY, Measured(requests=12, failed=12, instances=2), BUSY)
    assert (judged.finding, judged.thin, judged.text) == (Finding.FEW, True, "12 of 20 requests")


def test_sidecars_that_show_no_counts_say_nothing_either():
    judged = judge(POLICY, measured({}, {"a": None, "b": None}), BUSY)
    assert (judged.finding, judged.thin) == (Finding.BLIND, True)
    assert judge(POLICY, measured({}, {"a": None, "b": sample(good=30)}), BUSY).finding is Finding.GOOD


def test_only_what_happened_in_the_window_counts():
    before = {"a": sample(good=100, bad=50, latency=((10.0, 140), (math.inf, 150)))}
    after = {"a": sample(good=190, bad=60, latency=((10.0, 240), (math.inf, 250)))}
    found = measured(before, after)
    assert (found.requests, found.failed, found.success) == (100, 10, 90.0)
    assert found.p50_ms == pytest.approx(5.0)


def test_readings_of_different_ages_are_not_compared():
    recorded = replace(sample(good=40), recorded=True)
    counted = measured({"a": sample(good=90)}, {"a": recorded})
    assert (counted.requests, counted.silent) == (0, 1)
    counted = measured({"a": replace(sample(good=10), recorded=True)}, {"a": recorded})
    assert (counted.requests, counted.silent) == (30, 0)


def test_an_instance_that_came_or_restarted_in_the_window_counts_from_zero():
    before = {"a": sample(good=100, uptime=500), "b": sample(good=100, uptime=500)}
    after = {"a": sample(good=30, uptime=5), "b": sample(good=140, uptime=3), "c": sample(good=7)}
    assert measured(before, after).requests == 30 + 140 + 7


@pytest.mark.parametrize(
    ("share", "latency", "expected"),
    [
        (0.5, ((1.0, 50), (5.0, 100), (math.inf, 100)), 1.0),
        (0.75, ((1.0, 50), (5.0, 100), (math.inf, 100)), 3.0),
        (0.99, ((1.0, 0), (5.0, 0), (math.inf, 10)), 5.0),
        (0.99, ((1.0, 0), (math.inf, 0)), None),
        (0.5, (), None),
    ],
)
def test_quantiles_are_read_from_the_buckets(share, latency, expected):
    assert quantile([Bucket(*bucket) for bucket in latency], share) == expected


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ((10.0, 20.0), (25.0, 30.0), "p50 25 ms > 2 x 10 ms of the old release, 1000 requests"),
        ((10.0, 20.0), (15.0, 41.0), "p99 41 ms > 2 x 20 ms of the old release, 1000 requests"),
        ((10.0, 20.0), (20.0, 40.0), ""),
        ((0.5, 1.0), (3.0, 5.0), ""),
    ],
)
def test_a_release_may_be_so_many_times_slower_than_the_old_one_in_the_same_window(old, new, text):
    before, after = (replace(BUSY, p50_ms=p50, p99_ms=p99) for p50, p99 in (old, new))
    policy = replace(POLICY, slower=2.0)
    judged = judge(policy, after, before)
    assert (judged.finding, judged.text) == (Finding.BAD, text) if text else judged.finding is Finding.GOOD
    assert judge(replace(policy, slower=None), after, before).finding is Finding.GOOD
    few = replace(before, requests=policy.min_requests - 1)
    assert judge(policy, after, few).finding is Finding.GOOD
