"""A rollout is a table of rules: every state has its way forward, its way back, and nothing is lost on either."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hms_nomad.rollout.facts import DeploymentState, Facts, JobState
from hms_nomad.rollout.judge import Finding, Judgement
from hms_nomad.rollout.machine import RULES, decide
from hms_nomad.rollout.states import MEANINGS, Action, State
from tests.unit.rollout.world import POLICY, ROLLOUT, World

FORWARD = [
    State.PREPARE, State.START, State.PROBE, State.SHIFT, State.HOLD, State.PROBE, State.SHIFT, State.HOLD, State.PROBE,
    State.SHIFT, State.HOLD, State.PROBE, State.SHIFT, State.HOLD, State.RETIRE, State.PROMOTE, State.DONE,
]  # fmt: skip


def test_a_good_release_goes_all_the_way_in_the_steps_of_its_spec():
    world = World()
    assert world.run() == FORWARD
    assert world.ended == "succeeded"
    assert (world.default, world.subsets, world.weight) == ("r2", {"r2"}, None)


def test_each_step_is_held_for_its_time_and_probed_before_its_weight():
    world, seen = World(), []
    while not world.ended:
        before = (world.weight, world.elapsed)
        decision = world.step()
        if decision.action is Action.NEXT_STEP:
            assert before[1] >= 30
        seen.append((decision.action, world.rollout.step))
    for step in range(4):
        assert seen.index((Action.ASK_PROBES, step)) < seen.index((Action.SET_WEIGHT, step))


def test_old_instances_finish_their_requests_before_they_are_stopped():
    world = World(draining=30)
    world.rollout = replace(ROLLOUT, policy=replace(POLICY, holds=(0.0,) * 4))
    states = world.run()
    assert states[states.index(State.DRAIN) + 1] is State.PROMOTE


def test_a_request_that_never_ends_delays_the_end_by_the_longest_request_and_no_more():
    world = World(draining=1_000)
    assert world.run()[-1] is State.DONE


@pytest.mark.parametrize("rounds", range(45))
def test_an_abort_in_any_state_returns_traffic_first_then_entries_then_instances(rounds):
    world = World()
    for _ in range(rounds):
        if not world.ended and not world.rollout.retiring:
            world.step()
    if world.rollout.retiring:
        return
    world.abort()
    actions = []
    while not world.ended:
        actions.append(world.step().action)
    order = [
        Action.RETURN_TRAFFIC, Action.CONFIRM_WEIGHT, Action.CLEAN_MESH, Action.CONFIRM_FORGOTTEN,
        Action.FAIL_DEPLOYMENT, Action.CLOSE,
    ]  # fmt: skip
    assert [action for action in order if action in actions] == actions
    assert world.ended == "taken back"
    assert (world.default, world.subsets, world.weight, world.job) == ("r1", {"r1"}, None, JobState.STABLE)
    assert world.old_running


@pytest.mark.parametrize("rounds", range(45))
@pytest.mark.parametrize("with_file", [True, False])
def test_another_process_goes_on_from_any_state(rounds, with_file):
    world = World()
    for _ in range(rounds):
        if not world.ended:
            world.step()
    if world.ended:
        return
    world.kill_driver(with_file)
    registered = world.job is JobState.CANDIDATE
    world.run()
    assert world.ended == ("succeeded" if with_file or registered else "handed back")


@pytest.mark.parametrize("state", [State.START, State.PROBE, State.SHIFT, State.HOLD])
def test_whatever_goes_wrong_in_any_state_takes_the_release_back(state):
    for spoil in (World.crash, World.nomad_reverts):
        world = World()
        while world.decide().state is not state or world.job is not JobState.CANDIDATE:
            world.step()
        spoil(world)
        world.run()
        assert world.ended == "taken back"
        assert world.weight is None


def test_a_bad_release_is_taken_back_before_its_step_is_over_even_when_paused():
    world = World(finding=Finding.BAD)
    world.pause()
    world.promote()
    world.run()
    assert world.ended == "taken back"
    assert "it is bad" in world.rollout.taken_back


def test_what_fails_in_both_releases_waits_and_what_recovers_goes_on():
    world = World(finding=Finding.SHARED)
    for _ in range(60):
        world.step()
    assert (world.decide().state, world.decide().action) == (State.HOLD, Action.WAIT)
    world.finding = Finding.GOOD
    world.run()
    assert world.ended == "succeeded"


@pytest.mark.parametrize(
    ("policy", "end"), [("promote", "succeeded"), ("fail", "taken back"), ("probe", "succeeded"), ("wait", "")]
)
def test_without_traffic_the_spec_says_what_happens(policy, end):
    world = World(finding=Finding.FEW)
    world.rollout = replace(ROLLOUT, policy=replace(POLICY, on_no_traffic=policy))
    for _ in range(100):
        if not world.ended:
            world.step()
    assert world.ended == end
    assert policy != "probe" or world.requested == 3


def test_a_paused_rollout_enters_no_step_and_promote_enters_just_one():
    world = World()
    world.pause()
    for _ in range(30):
        world.step()
    assert (world.weight, world.decide().reason) == (0.0, "paused before 1 %")
    world.promote()
    for _ in range(30):
        world.step()
    assert (world.weight, world.decide().reason) == (1.0, "paused before 10 %")
    world.resume()
    world.run()
    assert world.ended == "succeeded"


def test_promote_cuts_a_step_short_and_promote_full_all_of_them():
    world = World()
    while world.decide().state is not State.HOLD:
        world.step()
    world.step()
    world.promote()
    assert world.step().action is Action.NEXT_STEP
    world.promote_fully()
    actions = []
    while not world.ended:
        actions.append(world.step().action)
    assert Action.WAIT not in actions
    assert actions.count(Action.SET_WEIGHT) == 1


@pytest.mark.parametrize("when", ["retiring", "promoted"])
def test_once_the_old_release_retires_nothing_is_taken_back(when):
    world = World()
    while not (world.rollout.retiring if when == "retiring" else world.promoted):
        world.step()
    world.abort()
    world.run()
    assert world.ended == "succeeded"


def test_a_job_that_nomad_reverts_at_the_last_moment_gets_its_traffic_back():
    world = World()
    while world.rollout.forgotten != "r1":
        world.step()
    world.nomad_reverts()
    actions = []
    while not world.ended:
        actions.append(world.step().action)
    assert actions[:3] == [Action.TAKE_BACK, Action.SPLIT_AGAIN, Action.RETURN_TRAFFIC]
    assert (world.ended, world.default, world.subsets) == ("taken back", "r1", {"r1"})


@pytest.mark.parametrize(("job", "said"), [(JobState.STOPPED, "stopped"), (JobState.OTHER, "another job")])
def test_a_job_that_others_stop_or_replace_ends_the_rollout_and_is_left_alone(job, said):
    world = World()
    while world.decide().state is not State.HOLD:
        world.step()
    world.job = job
    actions = []
    while not world.ended:
        actions.append(world.step().action)
    assert said in world.rollout.taken_back
    assert not {Action.FAIL_DEPLOYMENT, Action.RESTORE_JOB} & set(actions)


def test_nomad_that_does_not_revert_by_itself_gets_the_old_job_again():
    world = World()
    while world.decide().state is not State.HOLD:
        world.step()
    world.deployment = DeploymentState.FAILED
    actions = []
    while not world.ended:
        actions.append(world.step().action)
    assert Action.RESTORE_JOB in actions
    assert world.job is JobState.STABLE


def test_every_state_is_explained_and_every_rule_says_in_words_when_it_counts():
    assert set(MEANINGS) == set(State)
    assert {rule.state for rule in RULES} == set(State)
    assert all(rule.when for rule in RULES)
    assert len({(rule.state, rule.when) for rule in RULES}) == len(RULES)


def test_every_combination_of_facts_has_a_rule_and_what_must_not_happen_does_not():
    """All combinations of everything the machine looks at."""
    rollouts = [
        replace(ROLLOUT, step=step, taken_back=taken, paused=paused, go=go, step_since=1.0, retiring=retiring)
        for step, (taken, retiring), paused, go in itertools.product(
            (0, 3), (("", False), ("bad", False), ("", True)), (False, True), (-1, 9)
        )
    ]
    yes_no = (False, True)
    for rollout, job, deployment, weight in itertools.product(
        rollouts, JobState, DeploymentState, (None, 0.0, 1.0, 100.0)
    ):
        for prepared, promoted, healthy, acknowledged, forgotten, over in itertools.product(yes_no, repeat=6):
            for finding, fault in ((Finding.GOOD, ""), (Finding.BAD, ""), (Finding.GOOD, "broken")):
                facts = Facts(
                    rollout=rollout,
                    prepared=prepared,
                    split=prepared,
                    settled=forgotten,
                    cleaned=not prepared,
                    forgotten=forgotten,
                    promotable=deployment is DeploymentState.RUNNING,
                    weight=weight,
                    job=job,
                    deployment=deployment,
                    promoted=promoted,
                    healthy=healthy,
                    fault=fault,
                    acknowledged=acknowledged,
                    probed=True,
                    measuring=over,
                    elapsed=1_000.0 if over else 0.0,
                    judged=Judgement(finding),
                    can_register=True,
                )
                _must_hold(facts)


def _must_hold(facts: Facts) -> None:
    action = decide(facts).action
    if action is Action.PROMOTE_DEPLOYMENT:
        assert facts.settled
        assert facts.forgotten
        assert facts.job is JobState.CANDIDATE
        assert not facts.rollout.taken_back
    if action is Action.RETIRE_OLD:
        assert facts.weight == 100.0
        assert facts.acknowledged
        assert facts.healthy
        assert not facts.fault
        assert not facts.rollout.taken_back
    if action is Action.REGISTER_JOB:
        assert facts.prepared
        assert facts.job is JobState.STABLE
    if action in (Action.FAIL_DEPLOYMENT, Action.RESTORE_JOB):
        assert not facts.weight
        assert facts.cleaned
        assert facts.forgotten
    if action is Action.CLEAN_MESH:
        assert not facts.weight
        assert facts.weight is None or facts.acknowledged
    if action is Action.SET_WEIGHT:
        assert facts.healthy
        assert not facts.fault
        assert not facts.rollout.taken_back
    if facts.rollout.taken_back and not facts.promoted and (facts.weight or 0) > 0:
        assert action is (Action.RETURN_TRAFFIC if facts.split else Action.SPLIT_AGAIN)


EVENTS = st.lists(
    st.sampled_from(
        ["step"] * 12
        + ["abort", "pause", "resume", "promote", "promote_fully", "kill_driver", "crash", "nomad_reverts", "pass_time"]
    ),
    max_size=120,
)


@settings(max_examples=300)
@given(EVENTS)
def test_whatever_happens_in_whatever_order_one_release_has_everything_at_the_end(events):
    world = World()
    for event in events:
        if world.ended:
            break
        _follow_one(world) if event == "step" else getattr(world, event)()
        # At every moment somebody who can answer has the traffic.
        assert world.old_running or (world.new_running and (world.weight == 100.0 or world.default == "r2"))
    world.resume()
    while not world.ended:
        _follow_one(world)
    release = "r2" if world.ended == "succeeded" else "r1"
    assert (world.default, world.subsets, world.weight) == (release, {release}, None)
    assert world.job is (JobState.CANDIDATE if release == "r2" else JobState.STABLE)


def _follow_one(world: World) -> None:
    """One round, after which the state is one of those that the rule says it leads to, or the way back."""
    rule = world.decide().rule
    world.step()
    if not world.ended and rule.leads_to:
        follower = world.decide()
        assert follower.state in rule.leads_to or follower.action is Action.TAKE_BACK, (rule.when, follower.state)
