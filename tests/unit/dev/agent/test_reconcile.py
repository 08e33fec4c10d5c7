"""The engine: what is placed, stopped and updated, by Nomad's rules."""

from __future__ import annotations

from hms_nomad.dev.agent.reconcile import reconcile
from tests.unit.dev.agent.builders import NOW, alloc, deployment, job, judged


def _counts(outcome) -> dict[str, int]:
    return {what: number for what, number in outcome.counts["app"].items() if number}


def test_a_new_job_places_its_count_and_asks_for_a_deployment():
    outcome = reconcile(job(count=3), [], None, NOW)
    assert [one.name for one in outcome.place] == ["web.app[0]", "web.app[1]", "web.app[2]"]
    assert outcome.states["app"]["DesiredTotal"] == 3
    assert outcome.states["app"]["DesiredCanaries"] == 0


def test_a_job_without_count_is_successful_at_once():
    outcome = reconcile(job(count=0), [], None, NOW)
    assert (outcome.place, outcome.states) == ([], {})


def test_a_destructive_update_replaces_no_more_than_max_parallel():
    old, new = job(), job(1, script="b", MaxParallel=1)
    outcome = reconcile(new, [alloc(old, 0), alloc(old, 1)], None, NOW)
    assert _counts(outcome) == {"DestructiveUpdate": 1, "Ignore": 1}
    assert [one.previous["Name"] for one in outcome.place] == ["web.app[0]"]
    assert outcome.states["app"]["DesiredTotal"] == 2


def test_the_next_waits_until_the_last_is_healthy():
    old, new = job(), job(1, script="b", MaxParallel=1)
    rollout = deployment(new)
    waiting = reconcile(new, [alloc(new, 0, **judged(None)), alloc(old, 1)], rollout, NOW)
    going_on = reconcile(new, [alloc(new, 0, **judged(True)), alloc(old, 1)], rollout, NOW)
    assert waiting.place == []
    assert [one.name for one in going_on.place] == ["web.app[1]"]


def test_nothing_more_is_replaced_while_an_instance_is_unhealthy():
    old, new = job(), job(1, script="b", MaxParallel=2)
    outcome = reconcile(new, [alloc(new, 0, **judged(False)), alloc(old, 1)], deployment(new), NOW)
    assert outcome.place == []


def test_another_count_updates_in_place_and_adds():
    old, new = job(count=2), job(1, count=3)
    outcome = reconcile(new, [alloc(old, 0), alloc(old, 1)], None, NOW)
    assert _counts(outcome) == {"InPlaceUpdate": 2, "Place": 1}
    assert outcome.states["app"]["DesiredTotal"] == 3


def test_a_lower_count_stops_the_highest_numbers():
    outcome = reconcile(job(1, count=1), [alloc(job(), 0), alloc(job(), 1)], None, NOW)
    assert [one.alloc["Name"] for one in outcome.stop] == ["web.app[1]"]


def test_canaries_come_before_anything_is_replaced():
    old, new = job(), job(1, script="b", Canary=1)
    outcome = reconcile(new, [alloc(old, 0), alloc(old, 1)], None, NOW)
    assert _counts(outcome) == {"Canary": 1, "Ignore": 2}
    assert [one.canary for one in outcome.place] == [True]
    assert outcome.states["app"]["DesiredCanaries"] == 1


def test_a_first_version_has_no_canaries():
    outcome = reconcile(job(Canary=1), [], None, NOW)
    assert _counts(outcome) == {"Place": 2}


def test_while_canaries_are_watched_old_instances_are_replaced_by_their_own_version():
    old, new = job(), job(1, script="b", Canary=1)
    rollout = deployment(new, DesiredCanaries=1)
    failed = alloc(old, 1, "failed", TaskStates=None)
    outcome = reconcile(new, [alloc(old, 0), failed, alloc(new, 0, **judged(None, canary=True))], rollout, NOW)
    assert [(one.name, one.job["Version"]) for one in outcome.place] == [("web.app[1]", 0)]


def test_after_promotion_the_twin_of_the_canary_goes_and_the_rest_follows():
    old, new = job(), job(1, script="b", Canary=1, MaxParallel=1)
    canary = alloc(new, 0, **judged(True))
    rollout = deployment(new, DesiredCanaries=1, Promoted=True, PlacedCanaries=[canary["ID"]], HealthyAllocs=1)
    outcome = reconcile(new, [alloc(old, 0), alloc(old, 1), canary], rollout, NOW)
    assert {one.alloc["Name"] for one in outcome.stop if one.alloc["JobVersion"] == 0} == {"web.app[0]", "web.app[1]"}
    assert [one.name for one in outcome.place] == ["web.app[1]"]


def test_canaries_of_a_failed_deployment_go_and_no_others_come():
    old, new = job(), job(1, script="b", Canary=1)
    canary = alloc(new, 0, **judged(False, canary=True))
    outcome = reconcile(new, [alloc(old, 0), alloc(old, 1), canary], deployment(new, "failed", DesiredCanaries=1), NOW)
    assert [one.alloc["ID"] for one in outcome.stop] == [canary["ID"]]
    assert outcome.place == []


def test_a_paused_deployment_places_nothing():
    old, new = job(), job(1, script="b")
    outcome = reconcile(new, [alloc(new, 0, **judged(True)), alloc(old, 1)], deployment(new, "paused"), NOW)
    assert outcome.place == []


def test_a_deployment_is_complete_when_all_are_healthy():
    new = job(1)
    allocs = [alloc(new, 0, **judged(True)), alloc(new, 1, **judged(True))]
    assert reconcile(new, allocs, deployment(new, HealthyAllocs=2), NOW).complete
    assert not reconcile(new, allocs, deployment(new, HealthyAllocs=1), NOW).complete


def test_a_failed_instance_is_replaced_after_the_delay_of_its_policy():
    own = job(count=1)
    failed = alloc(own, 0, "failed")
    early = reconcile(own, [failed], None, NOW + 29)
    late = reconcile(own, [failed], None, NOW + 31)
    assert (early.place, early.wake) == ([], NOW + 30)
    assert [(one.previous["ID"], one.rescheduled) for one in late.place] == [(failed["ID"], True)]


def test_an_instance_that_somebody_stopped_is_replaced_at_once():
    own = job(count=1)
    moved = alloc(own, DesiredTransition={"Migrate": True})
    outcome = reconcile(own, [moved], None, NOW)
    assert [one.previous["ID"] for one in outcome.place] == [moved["ID"]]
    assert _counts(outcome) == {"Migrate": 1}


def test_a_stopped_job_stops_everything():
    own = {**job(), "Stop": True}
    outcome = reconcile(own, [alloc(own, 0), alloc(own, 1)], None, NOW)
    assert (len(outcome.stop), outcome.place) == (2, [])


def test_a_batch_job_that_is_done_is_not_run_again():
    own = {**job(count=1), "Type": "batch"}
    assert reconcile(own, [alloc(own, 0, "complete")], None, NOW).place == []
    assert len(reconcile({**own, "Version": 1}, [alloc(own, 0, "complete")], None, NOW).place) == 1
