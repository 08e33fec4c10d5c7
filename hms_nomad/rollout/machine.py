"""Facts about a rollout -> its state and the next action: one table, no input or output, no clock.

The first rule whose condition holds is taken. Nothing is remembered between two decisions but what the journal and the
servers hold, so any process can go on where another one stopped.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from hms_nomad.rollout.facts import DeploymentState, Facts, JobState
from hms_nomad.rollout.judge import Finding
from hms_nomad.rollout.states import Action as Action  # noqa: PLC0414 - a decision is made of both
from hms_nomad.rollout.states import State as State  # noqa: PLC0414


class Rule(Struct, frozen=True):
    """In ``state``, when ``test`` holds (``when`` in words), ``action`` is due; ``leads_to`` are the next states."""

    state: State
    when: str
    test: Callable[[Facts], bool]
    action: Action
    leads_to: tuple[State, ...]
    reason: Callable[[Facts], str] = lambda _: ""


class Decision(Struct, frozen=True):
    """The state that ``facts`` show, what is due by which rule, and why in words where there is more to say."""

    state: State
    action: Action
    reason: str
    rule: Rule
    facts: Facts


def decide(facts: Facts) -> Decision:
    """The first rule of the table that fits; every combination of facts has one."""
    rule = next(rule for rule in RULES if rule.test(facts))
    return Decision(rule.state, rule.action, rule.reason(facts), rule, facts)


def _going(facts: Facts) -> bool:
    return not facts.rollout.taken_back


def _gate_closed(facts: Facts) -> bool:
    """Nobody may enter the present step while the rollout is paused, unless somebody asked for just that step."""
    return facts.rollout.paused and facts.rollout.go < facts.rollout.step


def _step_over(facts: Facts) -> bool:
    rollout = facts.rollout
    return rollout.go > rollout.step or facts.elapsed >= rollout.policy.holds[rollout.step]


def _thin(facts: Facts, policy: str) -> bool:
    asked_on = facts.rollout.go > facts.rollout.step
    return not asked_on and facts.judged.thin and facts.rollout.policy.on_no_traffic == policy


def _not_enough(facts: Facts) -> str:
    return f"{facts.judged.text} in {facts.elapsed:.0f} s"


def _final(facts: Facts) -> bool:
    """Nothing can be taken back any more: the mesh forgets the old release, or Nomad has promoted the new one."""
    return facts.promoted or facts.rollout.retiring


_ONWARD = (State.HOLD, State.SHIFT, State.PROBE, State.RETIRE)
_ENDING = (State.RETIRE, State.DRAIN, State.PROMOTE, State.DONE)
_BACK = (State.RETURN, State.CLEAN, State.REVERT, State.TAKEN_BACK)

RULES: tuple[Rule, ...] = (
    # The end of the way forward: old instances are stopped only when nobody can send them anything any more.
    Rule(
        State.RETIRE,
        "the old release retires, but the job is not the new one any more",
        lambda f: f.rollout.retiring and not f.promoted and f.job is not JobState.CANDIDATE,
        Action.TAKE_BACK,
        _BACK,
        lambda f: f.fault or "the job was stopped or replaced by others",
    ),
    Rule(
        State.RETIRE,
        "the old release retires, and the mesh still knows it",
        lambda f: _final(f) and not f.settled,
        Action.SETTLE_MESH,
        _ENDING,
    ),
    Rule(
        State.RETIRE,
        "a caller's proxy may still know the old release",
        lambda f: _final(f) and not f.promoted and not f.forgotten,
        Action.CONFIRM_FORGOTTEN,
        _ENDING,
    ),
    Rule(
        State.DRAIN,
        "old instances still answer requests",
        lambda f: _final(f) and not f.promoted and f.draining > 0 and f.drained < f.rollout.policy.longest_request,
        Action.WAIT,
        _ENDING,
        lambda f: f"old instances still answer {f.draining} requests",
    ),
    Rule(
        State.PROMOTE,
        "old instances have nothing left to answer",
        lambda f: _final(f) and not f.promoted and f.promotable,
        Action.PROMOTE_DEPLOYMENT,
        _ENDING,
    ),
    Rule(
        State.PROMOTE,
        "Nomad has not taken the promotion up",
        lambda f: _final(f) and not f.promoted,
        Action.WAIT,
        _ENDING,
        lambda f: f.progress,
    ),
    Rule(State.DONE, "the deployment is promoted", lambda f: f.promoted, Action.FINISH, ()),
    # The way back: traffic first, then what was written, then instances that nobody knows any more.
    Rule(
        State.RETURN,
        "it is taken back, and the mesh knows the new release alone",
        lambda f: not _going(f) and (f.weight or 0) > 0 and not f.split,
        Action.SPLIT_AGAIN,
        _BACK,
    ),
    Rule(
        State.RETURN,
        "it is taken back, and the new release can still get traffic",
        lambda f: not _going(f) and (f.weight or 0) > 0,
        Action.RETURN_TRAFFIC,
        _BACK,
    ),
    Rule(
        State.RETURN,
        "it is taken back, and a caller's proxy may still have another weight",
        lambda f: not _going(f) and f.weight is not None and not f.acknowledged,
        Action.CONFIRM_WEIGHT,
        _BACK,
    ),
    Rule(
        State.CLEAN,
        "it is taken back, and entries of the rollout are left",
        lambda f: not _going(f) and not f.cleaned,
        Action.CLEAN_MESH,
        _BACK,
    ),
    Rule(
        State.CLEAN,
        "it is taken back, and a caller's proxy may still know the new release",
        lambda f: not _going(f) and not f.forgotten,
        Action.CONFIRM_FORGOTTEN,
        _BACK,
    ),
    Rule(
        State.REVERT,
        "it is taken back, and its deployment runs",
        lambda f: not _going(f) and f.job is JobState.CANDIDATE and f.deployment is DeploymentState.RUNNING,
        Action.FAIL_DEPLOYMENT,
        _BACK,
    ),
    Rule(
        State.REVERT,
        "it is taken back, its deployment ended, and Nomad did not revert the job",
        lambda f: not _going(f) and f.job is JobState.CANDIDATE,
        Action.RESTORE_JOB,
        _BACK,
    ),
    Rule(State.TAKEN_BACK, "it is taken back", lambda f: not _going(f), Action.CLOSE, ()),
    # Whatever is wrong with the new release counts in every state, gates included.
    Rule(
        State.START,
        "the job was stopped, or somebody registered another one",
        lambda f: f.job in (JobState.STOPPED, JobState.OTHER),
        Action.TAKE_BACK,
        _BACK,
        lambda f: "the job was stopped" if f.job is JobState.STOPPED else "another job was registered meanwhile",
    ),
    Rule(
        State.START,
        "the new release failed",
        lambda f: bool(f.fault),
        Action.TAKE_BACK,
        _BACK,
        lambda f: f.fault,
    ),
    Rule(
        State.HOLD,
        "the new release is judged to be bad",
        lambda f: f.judged.finding is Finding.BAD,
        Action.TAKE_BACK,
        _BACK,
        lambda f: f.judged.text,
    ),
    # The way forward.
    Rule(
        State.PREPARE,
        "the mesh does not know the new release",
        lambda f: not f.prepared,
        Action.PREPARE_MESH,
        (State.START,),
    ),
    Rule(
        State.START,
        "the new job is not registered, and this process has it",
        lambda f: f.job is JobState.STABLE and f.can_register,
        Action.REGISTER_JOB,
        (State.START, State.PROBE, State.SHIFT),
    ),
    Rule(
        State.START,
        "the new job is not registered, and this process does not have it",
        lambda f: f.job is JobState.STABLE,
        Action.HAND_BACK,
        (State.START,),
        lambda _: "the job was not registered yet: deploy the same file again, or abort",
    ),
    Rule(
        State.START,
        "not every new instance is healthy",
        lambda f: not f.healthy,
        Action.WAIT,
        (State.START, State.PROBE, State.SHIFT),
        lambda f: f.progress,
    ),
    Rule(
        State.PROBE,
        "the probes of this step are not asked",
        lambda f: not f.probed,
        Action.ASK_PROBES,
        (State.SHIFT, State.HOLD),
    ),
    Rule(
        State.SHIFT,
        "all of the traffic is asked for at once",
        lambda f: f.rollout.unheld and f.rollout.step < f.rollout.last_step,
        Action.LAST_STEP,
        (State.PROBE, State.SHIFT),
    ),
    Rule(
        State.SHIFT,
        "the step's weight is not set, and the rollout is paused",
        lambda f: f.weight != f.rollout.weight and _gate_closed(f),
        Action.WAIT,
        (State.SHIFT,),
        lambda f: f"paused before {f.rollout.weight:g} %",
    ),
    Rule(
        State.SHIFT,
        "the step's weight is not set",
        lambda f: f.weight != f.rollout.weight,
        Action.SET_WEIGHT,
        (State.SHIFT, State.HOLD),
    ),
    Rule(
        State.SHIFT,
        "a caller's proxy may still have another weight",
        lambda f: not f.acknowledged,
        Action.CONFIRM_WEIGHT,
        (State.SHIFT, State.HOLD),
    ),
    Rule(
        State.HOLD,
        "the step is not begun",
        lambda f: f.rollout.step_since is None or not f.measuring,
        Action.BEGIN_STEP,
        _ONWARD,
    ),
    Rule(
        State.HOLD,
        "the time of the step is not over",
        lambda f: not _step_over(f),
        Action.WAIT,
        _ONWARD,
        lambda f: f.judged.text,
    ),
    Rule(
        State.HOLD,
        "old and new release fail alike",
        lambda f: f.judged.finding is Finding.SHARED and f.rollout.go <= f.rollout.step,
        Action.WAIT,
        _ONWARD,
        lambda f: f.judged.text,
    ),
    Rule(
        State.HOLD,
        "there were too few requests, which is to be a failure",
        lambda f: _thin(f, "fail"),
        Action.TAKE_BACK,
        _BACK,
        _not_enough,
    ),
    Rule(
        State.HOLD,
        "there were too few requests, which is to be waited for",
        lambda f: _thin(f, "wait"),
        Action.WAIT,
        _ONWARD,
        _not_enough,
    ),
    Rule(
        State.HOLD,
        "there were too few requests, and own ones are to be sent",
        lambda f: _thin(f, "probe") and not f.requested,
        Action.SEND_REQUESTS,
        _ONWARD,
    ),
    Rule(
        State.HOLD,
        "there are further steps",
        lambda f: f.rollout.step < f.rollout.last_step,
        Action.NEXT_STEP,
        (State.PROBE, State.SHIFT),
        lambda f: f.judged.text,
    ),
    Rule(
        State.HOLD,
        "the last step is over, and the rollout is paused",
        lambda f: f.rollout.paused and not f.rollout.unheld,
        Action.WAIT,
        _ONWARD,
        lambda _: "paused with all the traffic at the new release",
    ),
    Rule(
        State.RETIRE,
        "the last step is over",
        lambda _: True,
        Action.RETIRE_OLD,
        _ENDING,
        lambda f: f.judged.text,
    ),
)
"""Every rule, in the order in which they are tried; docs/rollouts.md prints it."""
