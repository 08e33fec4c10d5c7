"""A world in which a rollout happens, without servers: it does what the machine asks for, and obeys Nomad's rules."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from hms_nomad.rollout.facts import DeploymentState, Facts, JobState
from hms_nomad.rollout.journal import Author, Rollout
from hms_nomad.rollout.judge import Finding, Judgement
from hms_nomad.rollout.machine import Action, Decision, State, decide
from hms_nomad.rollout.policy import Policy

POLICY = Policy(
    strategy="canary",
    steps=(1.0, 10.0, 50.0, 100.0),
    holds=(30.0, 30.0, 30.0, 30.0),
    success=99.0,
    p99_ms=None,
    min_requests=20,
    on_no_traffic="promote",
    longest_request=15.0,
    deadline=120.0,
)

ROLLOUT = Rollout(
    number=2,
    stable="r1",
    candidate="r2",
    digest="d2",
    version="2.0.0",
    stable_version="1.0.0",
    policy=POLICY,
    author=Author("somebody@somewhere"),
    started=0.0,
    stable_number=1,
)


@dataclass
class World:
    """Everything that facts are made of; ``ended`` is set when the machine closes the rollout."""

    rollout: Rollout = ROLLOUT
    default: str = "r1"
    subsets: frozenset[str] = frozenset({"r1"})
    weight: float | None = None
    job: JobState = JobState.STABLE
    deployment: DeploymentState = DeploymentState.NONE
    promoted: bool = False
    started: bool = False
    fault: str = ""
    finding: Finding = Finding.GOOD
    draining: int = 0
    old_running: bool = True
    new_running: bool = False
    # The driving process's own memory.
    can_register: bool = True
    acknowledged: float | None = None
    probed: int | None = None
    requested: int | None = None
    measured_step: int | None = None
    elapsed: float = 0.0
    drained: float = 0.0
    ended: str = ""

    def facts(self) -> Facts:
        return Facts(
            rollout=self.rollout,
            prepared=self.subsets == {"r1", "r2"} and self.default == "r1" and self.weight is not None,
            settled=self.subsets == {"r2"} and self.default == "r2" and self.weight is None,
            cleaned=self.subsets == {"r1"} and self.default == "r1" and self.weight is None,
            split=self.weight is not None and self.subsets == {"r1", "r2"},
            weight=100.0 if self.weight is None and self.default == "r2" else self.weight,
            job=self.job,
            deployment=self.deployment if self.job is JobState.CANDIDATE else DeploymentState.NONE,
            promotable=self.job is JobState.CANDIDATE
            and self.deployment is DeploymentState.RUNNING
            and not self.promoted,
            promoted=self.promoted,
            healthy=self.started and self.new_running,
            fault=self._fault(),
            acknowledged=self.weight is not None and self.acknowledged == self.weight,
            probed=self.probed == self.rollout.step,
            requested=self.requested == self.rollout.step,
            measuring=self.measured_step == self.rollout.step,
            elapsed=self.elapsed,
            judged=Judgement(self.finding, f"it is {self.finding}"),
            forgotten=self.rollout.forgotten == ("r2" if self.rollout.taken_back else "r1"),
            draining=self.draining if self.rollout.forgotten == "r1" else 0,
            drained=self.drained,
            can_register=self.can_register,
        )

    def _fault(self) -> str:
        if self.rollout.taken_back or self.promoted:
            return ""
        if self.job is JobState.STABLE and self.rollout.registered is not None:
            return "Nomad took the job back"
        if self.job is JobState.CANDIDATE and self.deployment is DeploymentState.FAILED:
            return "the deployment failed"
        return self.fault

    def decide(self) -> Decision:
        return decide(self.facts())

    def step(self) -> Decision:
        """One round of the loop; waiting lets time and Nomad go on."""
        decision = self.decide()
        self.do(decision)
        return decision

    def run(self, rounds: int = 200) -> list[State]:
        """The states until the end, each named once in a row."""
        states: list[State] = []
        for _ in range(rounds):
            decision = self.step()
            if not states or states[-1] is not decision.state:
                states.append(decision.state)
            if self.ended:
                return states
        raise AssertionError(f"no end after {rounds} rounds: {states}")

    def do(self, decision: Decision) -> None:  # noqa: PLR0912, PLR0915 - one case for each action
        rollout = self.rollout
        match decision.action:
            case Action.WAIT:
                self.pass_time()
            case Action.PREPARE_MESH:
                if self.weight is None:
                    self.acknowledged = 0.0
                self.subsets, self.default, self.weight = frozenset({"r1", "r2"}), "r1", self.weight or 0.0
            case Action.REGISTER_JOB:
                assert self.can_register
                self.job, self.deployment, self.new_running = JobState.CANDIDATE, DeploymentState.RUNNING, True
                self.rollout = replace(rollout, registered=1.0)
            case Action.ASK_PROBES:
                self.probed = rollout.step
            case Action.SEND_REQUESTS:
                self.requested = rollout.step
            case Action.SET_WEIGHT:
                self.weight = self.acknowledged = rollout.weight
            case Action.SPLIT_AGAIN:
                self.weight, self.subsets = 100.0, frozenset({"r1", "r2"})
            case Action.RETURN_TRAFFIC:
                self.weight = self.acknowledged = 0.0
            case Action.RETIRE_OLD:
                self.rollout = replace(rollout, retiring=True)
            case Action.CONFIRM_FORGOTTEN:
                self.rollout = replace(rollout, forgotten="r2" if rollout.taken_back else "r1")
            case Action.CONFIRM_WEIGHT:
                self.acknowledged = self.weight
            case Action.BEGIN_STEP:
                self.measured_step, self.elapsed = rollout.step, 0.0
                self.rollout = replace(rollout, step_since=1.0)
            case Action.NEXT_STEP:
                self.rollout = replace(rollout, step=rollout.step + 1, step_since=None)
            case Action.LAST_STEP:
                self.rollout = replace(rollout, step=rollout.last_step, step_since=None)
            case Action.PROMOTE_DEPLOYMENT:
                self.promoted, self.old_running = True, False
            case Action.SETTLE_MESH:
                self.subsets, self.default, self.weight = frozenset({"r2"}), "r2", None
            case Action.TAKE_BACK:
                self.rollout = replace(rollout, taken_back=decision.reason, retiring=False, forgotten="")
            case Action.FAIL_DEPLOYMENT:
                self.job, self.deployment, self.new_running = JobState.STABLE, DeploymentState.FAILED, False
            case Action.RESTORE_JOB:
                self.job, self.new_running = JobState.STABLE, False
            case Action.CLEAN_MESH:
                self.subsets, self.default, self.weight = frozenset({"r1"}), "r1", None
            case Action.FINISH:
                self.ended = "succeeded"
            case Action.CLOSE:
                self.ended = "taken back"
            case Action.HAND_BACK:
                self.ended = "handed back"

    def pass_time(self, seconds: float = 10.0) -> None:
        self.elapsed += seconds
        self.drained += seconds if self.rollout.forgotten == "r1" else 0
        self.draining = max(0, self.draining - 1)
        if self.new_running and not self.fault:
            self.started = True

    # What others do.

    def abort(self) -> None:
        if not self.promoted and not self.rollout.retiring:
            self.rollout = replace(self.rollout, taken_back="somebody said so", taken_back_by="somebody")

    def pause(self) -> None:
        self.rollout = replace(self.rollout, paused=True)

    def resume(self) -> None:
        self.rollout = replace(self.rollout, paused=False)

    def promote(self) -> None:
        entered = self.weight == self.rollout.weight
        self.rollout = replace(self.rollout, go=self.rollout.step + 1 if entered else self.rollout.step)

    def promote_fully(self) -> None:
        self.rollout = replace(self.rollout, go=len(self.rollout.policy.steps), paused=False)

    def kill_driver(self, with_file: bool = True) -> None:
        """The process dies; another one takes over without its memory."""
        self.acknowledged = self.probed = self.requested = self.measured_step = None
        self.elapsed, self.fault, self.can_register = 0.0, "", with_file

    def crash(self) -> None:
        if self.job is JobState.CANDIDATE and not self.promoted:
            self.fault = "it crashed"

    def nomad_reverts(self) -> None:
        if self.job is JobState.CANDIDATE and not self.promoted:
            self.job, self.deployment, self.new_running = JobState.STABLE, DeploymentState.FAILED, False
