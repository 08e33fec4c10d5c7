"""The loop around the machine: look, decide, do, and wait for news, until the rollout has ended.

Any number of processes may drive the same rollout: what they write is compared and set, and who loses looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from hms_nomad.apply.failure import Failure
from hms_nomad.apply.progress import Event
from hms_nomad.clients.errors import (
    ConflictError,
    DeadlineExceededError,
    InvalidRequestError,
    UnavailableError,
    UnknownOutcomeError,
)
from hms_nomad.rollout.cluster import Cluster, Memory
from hms_nomad.rollout.facts import Facts, JobState
from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.judge import Measured
from hms_nomad.rollout.look import look
from hms_nomad.rollout.machine import Action, Decision, State, decide
from hms_nomad.rollout.perform import open_window, perform
from hms_nomad.rollout.release import Release, ReleaseOutcome
from hms_nomad.rollout.wake import following

_LONGEST_LOOK_SECONDS = 5.0
_SHORTEST_LOOK_SECONDS = 1.0
_FAULTS = 20
_AFTER_FAULT_SECONDS = 1.0
_REFUSALS = 5
_PASSING = (ConflictError, UnknownOutcomeError, UnavailableError, InvalidRequestError)


class End(StrEnum):
    """How driving a rollout ended; the rollout itself has ended in the first two cases only."""

    SUCCEEDED = "succeeded"
    TAKEN_BACK = "taken-back"
    REACHED = "reached"
    HANDED_BACK = "handed-back"
    FORGOTTEN = "forgotten"


_ENDS = {ReleaseOutcome.SUCCEEDED: End.SUCCEEDED, ReleaseOutcome.TAKEN_BACK: End.TAKEN_BACK}


class Ending(Struct, frozen=True):
    """How it ended and why; ``failure`` is the evidence, when this process saw the release fail."""

    end: End
    reason: str = ""
    failure: Failure | None = None
    release: Release | None = None


Reached = Callable[[Facts, Decision], bool]
"""Says whether what a command waits for has come, before the next action is done."""


def never(facts: Facts, decision: Decision) -> bool:
    """Go on to the end of the rollout."""
    del facts, decision
    return False


def registered(facts: Facts, decision: Decision) -> bool:
    """The new job is registered; others must go on."""
    del decision
    return facts.job is not JobState.STABLE


def canary_healthy(facts: Facts, decision: Decision) -> bool:
    """The new instances are healthy and passed their probes, with no traffic yet unless somebody gave it to them."""
    if facts.rollout.taken_back:
        return False
    return (facts.weight or 0) > 0 or (facts.weight == 0 and decision.state is State.SHIFT)


def step_entered(step: int) -> Reached:
    """Every caller's proxy has the weight of ``step``, or of a later one."""

    def entered(facts: Facts, decision: Decision) -> bool:
        beyond = facts.rollout.step > step or decision.state in (State.RETIRE, State.DRAIN, State.PROMOTE, State.DONE)
        return beyond or (facts.rollout.step == step and decision.state is State.HOLD and facts.measuring)

    return entered


def drive(
    cluster: Cluster, number: int, memory: Memory, deadline: float | None = None, reached: Reached = never
) -> Ending:
    """Drive rollout ``number`` to its end, or until ``reached``, and answer how it ended, whoever brought it there.

    ``deadline`` is a value of ``time.monotonic()``. Raises DeadlineExceededError, and the errors of
    ``hms_nomad.clients.errors``; traffic then stays as it is, and any process may go on.
    """
    faults = 0
    shown = _Shown(cluster)
    with following(cluster) as news:
        while True:
            rollout = cluster.store.journal().rollout
            if rollout is None or rollout.number != number:
                return _ended(cluster, number, memory)
            facts = look(cluster, rollout, memory)
            decision = decide(facts)
            shown.show(facts, decision)
            if decision.action is Action.HAND_BACK:
                return Ending(End.HANDED_BACK, decision.reason)
            if reached(facts, decision):
                return Ending(End.REACHED, decision.reason)
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceededError(
                    f"the rollout of {cluster.service} is at {decision.state}"
                    f"{f' ({decision.reason})' if decision.reason else ''}; traffic stays as it is"
                )
            if decision.action is Action.WAIT:
                news.wait(_pause(facts, decision, deadline))
                continue
            try:
                perform(cluster, facts, decision, memory)
            except _PASSING as fault:
                # Somebody was faster, or an answer was lost: the next look shows what is so now. Consul also refuses
                # what fits no more to the entries of somebody who was faster.
                faults += 1
                if faults > (_REFUSALS if isinstance(fault, InvalidRequestError) else _FAULTS):
                    raise
                news.wait(0.0 if isinstance(fault, ConflictError) else _AFTER_FAULT_SECONDS)
            else:
                faults = 0


def watch(cluster: Cluster, number: int, deadline: float | None = None) -> Ending:
    """Show a rollout that others drive, until it ends; nothing is written. Raises DeadlineExceededError.

    The numbers are those since the watching began, or since the step began where that is later.
    """
    shown = _Shown(cluster)
    memory = Memory()
    with following(cluster) as news:
        while True:
            rollout = cluster.store.journal().rollout
            if rollout is None or rollout.number != number:
                return _ended(cluster, number, memory)
            _remember(cluster, rollout, memory)
            facts = look(cluster, rollout, memory)
            decision = decide(facts)
            shown.show(facts, decision)
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceededError(f"the rollout of {cluster.service} goes on; it is at {decision.state}")
            news.wait(_pause(facts, decision, deadline))


def _remember(cluster: Cluster, rollout: Rollout, memory: Memory) -> None:
    """What who drives must know, as far as the journal shows it: a step that began was probed."""
    if rollout.step_since is None:
        return
    memory.probed = rollout.step
    if memory.window is None or memory.window.step != rollout.step:
        begun = time.monotonic() - max(0.0, cluster.wall_clock() - rollout.step_since)
        memory.window = open_window(cluster, rollout, begun)


def _pause(facts: Facts, decision: Decision, deadline: float | None) -> float:
    """Seconds until the next look without news; counts of requests bring none, so a judged step is looked at often."""
    every = min(_LONGEST_LOOK_SECONDS, max(_SHORTEST_LOOK_SECONDS, facts.rollout.policy.holds[facts.rollout.step] / 6))
    if decision.state in (State.HOLD, State.DRAIN):
        left = facts.rollout.policy.holds[facts.rollout.step] - facts.elapsed
        every = min(every, left) if left > 0 else every
        every = _SHORTEST_LOOK_SECONDS / 4 if decision.state is State.DRAIN else every
    remaining = deadline - time.monotonic() if deadline is not None else every
    return max(0.05, min(every, remaining))


def _ended(cluster: Cluster, number: int, memory: Memory) -> Ending:
    release = cluster.store.release(number)
    if release is None or release.outcome not in _ENDS:
        return Ending(End.FORGOTTEN, "others ended the rollout, or stopped the service", memory.failure, release)
    return Ending(_ENDS[release.outcome], release.reason, memory.failure, release)


class _Shown:
    """Reports each state once, and each new number once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._last: tuple[object, ...] = ()

    def show(self, facts: Facts, decision: Decision) -> None:
        reason = facts.judged.text if decision.state is State.HOLD and facts.measuring else decision.reason
        seen = (decision.state, facts.rollout.step, facts.rollout.paused, facts.weight, reason)
        if seen == self._last:
            return
        self._last = seen
        self._cluster.report(Event("rollout", _line(facts, decision, reason), rollout_facts(facts, decision)))


def rollout_facts(facts: Facts, decision: Decision) -> dict[str, object]:
    """A rollout at one moment, for machines; ``weight`` is the set share of traffic, ``share`` the measured one."""
    rollout = facts.rollout
    total = facts.judged.old.requests + facts.judged.new.requests

    def side(release: str, version: str, measured: Measured) -> dict[str, object]:
        share = round(100 * measured.requests / total, 2) if total else None
        numbers = {"healthy": facts.passing.get(release, 0), "share": share, **_numbers(measured)}
        return {"release": release, "version": version, **numbers}

    return {
        "state": str(decision.state),
        "reason": decision.reason,
        "strategy": rollout.policy.strategy,
        "stable": side(rollout.stable, rollout.stable_version, facts.judged.old),
        "candidate": side(rollout.candidate, rollout.version, facts.judged.new),
        "weight": facts.weight,
        "step": rollout.step + 1,
        "steps": list(rollout.policy.steps),
        "hold": rollout.policy.holds[rollout.step],
        "elapsed": round(facts.elapsed, 1),
        "finding": str(facts.judged.finding),
        "paused": rollout.paused,
        "progress": facts.progress,
    }


def _numbers(measured: Measured) -> dict[str, object]:
    return {
        "requests": measured.requests,
        "failed": measured.failed,
        "success": round(measured.success, 2),
        "p50_ms": measured.p50_ms,
        "p99_ms": measured.p99_ms,
    }


def _line(facts: Facts, decision: Decision, reason: str) -> str:
    rollout: Rollout = facts.rollout
    where = f"{facts.weight or 0:g} %" if facts.weight is not None else "no split"
    step = f"step {rollout.step + 1} of {len(rollout.policy.steps)}"
    tail = f": {reason}" if reason else ""
    paused = ", paused" if rollout.paused else ""
    return f"{decision.state} ({step}, {rollout.candidate} at {where}{paused}){tail}"
