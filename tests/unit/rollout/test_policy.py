"""The rules of one rollout follow from the spec, and outlive it in the journal."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hms_nomad.rollout.journal import (
    Journal,
    JournalError,
    Rejection,
    journal_bytes,
    journal_from,
)
from hms_nomad.rollout.policy import policy_of, with_strategy
from hms_nomad.rollout.release import content_of, release_bytes, release_from
from tests.unit.plan.test_plan import desired_of
from tests.unit.rollout.records import release
from tests.unit.rollout.world import ROLLOUT
from tests.unit.specs import spec


def test_a_canary_holds_every_step_and_then_keeps_the_old_instances():
    policy = policy_of(spec(rollout={"every": "10s", "keep": "1m"}))
    assert (policy.steps, policy.holds) == ((1.0, 10.0, 50.0, 100.0), (10.0, 10.0, 10.0, 70.0))


@pytest.mark.parametrize(
    ("strategy", "steps", "holds"),
    [
        ("blue-green", (100.0,), (30.0,)),
        ("rolling", (1.0, 10.0, 50.0, 100.0), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_the_other_strategies_are_the_same_with_other_holds(strategy, steps, holds):
    for policy in (policy_of(spec(rollout={"strategy": strategy})), policy_of(spec(), strategy)):
        assert (policy.strategy, policy.steps, policy.holds) == (strategy, steps, holds)


@pytest.mark.parametrize("before", ["canary", "blue-green", "rolling"])
@pytest.mark.parametrize("after", ["canary", "blue-green", "rolling"])
def test_a_way_back_by_another_strategy_takes_what_that_one_takes(before, after):
    for changes in ({}, {"protocol": "tcp", "routes": None}):
        stored = policy_of(spec(**changes), before)
        assert with_strategy(stored, after) == policy_of(spec(**changes), after)
        assert with_strategy(stored, None) is stored


def test_a_way_back_keeps_the_steps_and_times_of_its_release():
    rollout = {"strategy": "canary", "steps": [25, 100], "every": "4s", "keep": "6s"}
    stored = policy_of(spec(rollout=rollout))
    for strategy in ("blue-green", "rolling"):
        assert with_strategy(stored, strategy) == policy_of(spec(rollout=rollout), strategy)
    assert with_strategy(policy_of(spec(rollout={**rollout, "steps": [100]})), "rolling").holds == (0.0,)


def test_the_last_step_is_all_of_the_traffic_whatever_the_spec_says():
    assert policy_of(spec(rollout={"steps": [5, 25]})).steps == (5.0, 25.0, 100.0)


def test_what_has_no_weights_moves_at_once():
    policy = policy_of(spec(protocol="tcp", routes=[]))
    assert (policy.splits, policy.steps) == (False, (100.0,))


def test_limits_come_in_the_units_of_the_counts():
    policy = policy_of(spec(rollout={"p99": "1.5s"}, routes=[{"path": "/a", "timeout": "40s"}]))
    assert (policy.p99_ms, policy.longest_request) == (1500.0, 40.0)


def test_a_journal_survives_being_stored():
    journal = Journal(
        replace(ROLLOUT, policy=policy_of(spec(probes={"gve": {"path": "/gve"}}))),
        (Rejection("r9", "0.9", "it crashed", "somebody", 1.5),),
    )
    assert journal_from(journal_bytes(journal), "key") == journal


@pytest.mark.parametrize(
    "data", [b"", b"no json", b"[]", b'{"schema": 99}', b'{"rollout": {"number": "x"}, "schema": 1}']
)
def test_a_journal_that_cannot_be_read_stops_everything_and_names_the_key(data):
    with pytest.raises(JournalError, match="the key hms-nomad/x"):
        journal_from(data, "hms-nomad/x")


def test_only_so_many_rejections_are_kept():
    journal = Journal()
    for number in range(60):
        journal = journal.with_rejection(Rejection(f"r{number}", "1", "bad", "somebody", float(number)))
    assert len(journal.rejected) == 50
    assert journal.rejection("r59") is not None
    assert journal.rejection("r0") is None
    assert journal.without_rejection("r59").rejection("r59") is None


def test_a_record_survives_being_stored_and_an_unreadable_one_is_left_out():
    kept = release(3, allow=["portal"], routes=[{"path": "/a", "timeout": "40s"}])
    assert release_from(release_bytes(kept)) == kept
    assert release_from(b"{}") is None


def test_the_same_spec_has_the_same_content_and_another_route_another():
    assert content_of(desired_of()) == content_of(desired_of())
    assert content_of(desired_of(routes=[{"path": "/other"}])) != content_of(desired_of())
