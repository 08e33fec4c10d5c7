"""Deployments, health and restarts over time, with the time given: nobody waits."""

from __future__ import annotations

from hms_nomad.dev.agent.deployments import judge, missing_canaries
from hms_nomad.dev.agent.health import Tracker
from hms_nomad.dev.agent.restarts import Restarts
from hms_nomad.dev.agent.values import SECOND, timestamp
from tests.unit.dev.agent.builders import NOW, alloc, deployment, job, judged

UPDATE = {"MinHealthyTime": 10 * SECOND, "HealthyDeadline": 60 * SECOND, "HealthCheck": "checks"}
MAIN = {"main": {}}


def _running(since: float) -> dict:
    return {"main": {"State": "running", "Failed": False, "StartedAt": timestamp(since)}}


def test_a_deployment_without_progress_fails_at_its_deadline():
    own = job(1)
    rollout = deployment(own, RequireProgressBy=timestamp(NOW + 90))
    assert judge(rollout, [], NOW + 89).failure == ""
    assert judge(rollout, [], NOW + 91).failure == "Failed due to progress deadline"


def test_healthy_canaries_may_wait_for_their_promotion_as_long_as_it_takes():
    rollout = deployment(job(1), DesiredCanaries=1, HealthyAllocs=1)
    assert judge(rollout, [], NOW + 10_000).failure == ""


def test_canaries_promote_themselves_where_the_job_says_so():
    own = job(1)
    canary = alloc(own, **judged(True, canary=True))
    state = {"DesiredCanaries": 1, "PlacedCanaries": [canary["ID"]], "HealthyAllocs": 1}
    assert judge(deployment(own, AutoPromote=True, **state), [canary], NOW).promote
    assert not judge(deployment(own, **state), [canary], NOW).promote


def test_canaries_that_are_not_healthy_are_named_in_nomads_words():
    rollout = deployment(job(1), DesiredCanaries=2, PlacedCanaries=[])
    assert missing_canaries(rollout, []) == ['Task group "app" has 0/2 healthy allocations']


def test_an_instance_that_failed_during_a_deployment_is_replaced_until_the_deadline():
    own = job(1)
    failed = alloc(own, 0, "failed", **judged(False))
    assert [one["ID"] for one in judge(deployment(own), [failed], NOW).reschedule] == [failed["ID"]]


def test_without_a_progress_deadline_one_unhealthy_instance_is_enough():
    own = job(1)
    verdict = judge(deployment(own, ProgressDeadline=0), [alloc(own, **judged(False))], NOW)
    assert verdict.failure == "Failed due to unhealthy allocations"


def test_an_instance_is_healthy_once_it_has_run_long_enough_with_passing_checks():
    tracker = Tracker(UPDATE, NOW)
    assert tracker.look(_running(NOW), MAIN, [False], NOW + 5).verdict is None
    assert tracker.look(_running(NOW), MAIN, [True], NOW + 12).wake == NOW + 22
    assert tracker.look(_running(NOW), MAIN, [True], NOW + 22).verdict is True


def test_a_check_that_fails_in_between_begins_the_time_anew():
    tracker = Tracker(UPDATE, NOW)
    tracker.look(_running(NOW), MAIN, [True], NOW)
    tracker.look(_running(NOW), MAIN, [False], NOW + 8)
    tracker.look(_running(NOW), MAIN, [True], NOW + 9)
    assert tracker.look(_running(NOW), MAIN, [True], NOW + 12).verdict is None


def test_an_instance_is_unhealthy_at_its_deadline_or_when_a_task_fails():
    assert Tracker(UPDATE, NOW).look(_running(NOW), MAIN, [False], NOW + 60).verdict is False
    failed = {"main": {"State": "dead", "Failed": True, "StartedAt": timestamp(NOW)}}
    assert Tracker(UPDATE, NOW).look(failed, MAIN, [True], NOW + 1).verdict is False


def test_a_task_is_restarted_as_often_as_its_policy_says():
    policy = {"Attempts": 2, "Interval": 60 * SECOND, "Delay": 4 * SECOND, "Mode": "fail"}
    restarts = Restarts(policy, batch=False, once=False)
    first = restarts.after_exit(1, NOW, jitter=0)
    restarts.after_exit(0, NOW + 1)
    third = restarts.after_exit(1, NOW + 2)
    assert (first.again, first.delay) == (True, 4.0)
    assert (third.again, third.failed) == (False, True)
    assert 'Exceeded allowed attempts 2 in interval 1m0s and mode is "fail"' in third.reason


def test_the_count_begins_anew_with_each_interval():
    restarts = Restarts({"Attempts": 1, "Interval": 60 * SECOND, "Delay": 0, "Mode": "fail"}, batch=False, once=False)
    assert restarts.after_exit(1, NOW).again
    assert restarts.after_exit(1, NOW + 61).again


def test_a_policy_of_delay_waits_for_the_next_interval():
    restarts = Restarts({"Attempts": 1, "Interval": 60 * SECOND, "Delay": 0, "Mode": "delay"}, batch=False, once=False)
    restarts.after_exit(1, NOW)
    again = restarts.after_exit(1, NOW + 10)
    assert (again.again, again.delay) == (True, 50.0)


def test_a_batch_task_that_succeeds_is_done():
    restarts = Restarts({"Attempts": 3, "Interval": SECOND, "Delay": 0, "Mode": "fail"}, batch=True, once=False)
    assert (restarts.after_exit(0, NOW).again, restarts.after_exit(0, NOW).failed) == (False, False)
