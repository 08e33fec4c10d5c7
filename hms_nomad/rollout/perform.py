"""Action -> its doing: each is safe to repeat, writes by compare-and-set, and leaves the decision to the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from hms_nomad.apply.failure import explain_failure
from hms_nomad.apply.follow import deployment_of, finished_evaluation
from hms_nomad.apply.progress import Event
from hms_nomad.apply.write import register, write_in_order
from hms_nomad.clients.envoy import EnvoySample
from hms_nomad.clients.errors import ConflictError, NotFoundError
from hms_nomad.compile.desired import Desired
from hms_nomad.compile.job import with_count
from hms_nomad.plan.change import Action as ChangeAction
from hms_nomad.plan.change import Change
from hms_nomad.plan.diff import make_plan
from hms_nomad.plan.observed import Observed, release_of
from hms_nomad.rollout.closing import close_release
from hms_nomad.rollout.cluster import Cluster, Memory, Window
from hms_nomad.rollout.facts import Facts
from hms_nomad.rollout.journal import Journal, Rejection, Rollout
from hms_nomad.rollout.look import look
from hms_nomad.rollout.machine import Action, Decision, decide
from hms_nomad.rollout.probes import ask_probes, send_requests
from hms_nomad.rollout.release import ReleaseOutcome, desired_of
from hms_nomad.rollout.sidecars import Acknowledgement
from hms_nomad.rollout.traffic import defaulting, finishing, preparing, splitting, switching, weighing

_EVALUATION_SECONDS = 30.0
_SERVERS_OWN = (
    "Version", "Stable", "Status", "StatusDescription", "SubmitTime", "CreateIndex", "ModifyIndex", "JobModifyIndex",
    "VersionTag", "NomadTokenID", "ConsulToken", "VaultToken", "Dispatched", "ParentID", "Stop",
)  # fmt: skip


def perform(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    """Do what a decision asks for.

    Raises ConflictError when somebody else was faster (look again and decide anew), and the other errors of
    ``hms_nomad.clients.errors``.
    """
    _DOERS[decision.action](cluster, facts, decision, memory)


def job_again(body: Mapping[str, Any], count: int) -> dict[str, Any]:
    """A job that Nomad kept as a body for registering it again, for ``count`` instances."""
    job = {key: value for key, value in body.items() if key not in _SERVERS_OWN}
    job["TaskGroups"] = [{**group, "Scaling": _without_identity(group.get("Scaling"))} for group in job["TaskGroups"]]
    return job if job.get("Type") == "batch" else with_count(job, count, count)


def _without_identity(scaling: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Nomad gives a scaling policy an id and indexes of its own."""
    own = ("ID", "CreateIndex", "ModifyIndex", "Target")
    return {key: value for key, value in scaling.items() if key not in own} if scaling else None


def open_window(cluster: Cluster, rollout: Rollout, since: float) -> Window:
    """The counts from which a step is judged; ``since`` is a value of ``time.monotonic()``."""
    new, old = cluster.sidecars.release(rollout.candidate), cluster.sidecars.release(rollout.stable)
    return Window(rollout.step, since, _answered(new), _answered(old))


def _prepare_mesh(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    final = _desired(cluster, facts.rollout.number, memory.job)
    _write(cluster, preparing(facts.rollout, final, _unchanged(cluster, decision, memory)))
    if facts.weight is None:
        # The splitter came into being with weight 0, so no proxy has ever had another one.
        _note(cluster, facts.rollout, acknowledged=0.0)


def _register_job(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    if memory.job is None:
        raise ValueError("this process has no job to register")
    plan = make_plan(memory.job, cluster.observe())
    change = next(change for change in plan.changes if change.kind == "job")
    registration = register(change, cluster.nomad, cluster.consul, cluster.report)
    _note(cluster, facts.rollout, registered=cluster.wall_clock())
    evaluation = finished_evaluation(cluster.nomad, registration.eval_id, time.monotonic() + _EVALUATION_SECONDS)
    if evaluation.failed:
        reasons = "; ".join(f"{group}: {failure.reason()}" for group, failure in evaluation.failed.items())
        memory.fault = f"no node can take an instance ({reasons})"
    if (job := cluster.nomad.read_job(cluster.service)) is not None:
        cluster.store.amend(facts.rollout.number, lambda release: replace(release, job_version=job.version))


def _ask_probes(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    memory.fault = ask_probes(cluster, facts.rollout)
    if not memory.fault:
        memory.probed = facts.rollout.step


def _send_requests(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    memory.fault = send_requests(cluster, facts.rollout)
    if not memory.fault:
        memory.requested = facts.rollout.step


def _set_weight(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    _shift(cluster, facts.rollout.weight, decision, memory)


def _return_traffic(cluster: Cluster, _: Facts, decision: Decision, memory: Memory) -> None:
    _shift(cluster, 0.0, decision, memory)


def _split_again(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    _write(cluster, splitting(facts.rollout, cluster.service, _unchanged(cluster, decision, memory)))
    cluster.sidecars.settled()


def _shift(cluster: Cluster, weight: float, decision: Decision, memory: Memory) -> None:
    """Write a weight and wait until every caller's proxy has it."""
    baseline = cluster.sidecars.baseline()
    observed = _unchanged(cluster, decision, memory)
    # From here on nobody may believe what proxies had before.
    rollout = _note(cluster, decision.facts.rollout, even_taken_back=True, acknowledged=None)
    if rollout is None or rollout.taken_back != decision.facts.rollout.taken_back:
        raise _overtaken(cluster, decision)
    change = weighing(rollout, cluster.service, weight, observed)
    _write(cluster, (change,))
    # What stands already brings the proxies nothing new that they could confirm.
    told = rollout.policy.splits and change.action is not ChangeAction.KEEP
    _acknowledge(cluster, rollout, weight, cluster.sidecars.acknowledged(baseline) if told else None)


def _confirm_weight(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    _acknowledge(cluster, facts.rollout, facts.weight or 0.0, None)


def _acknowledge(cluster: Cluster, rollout: Rollout, weight: float, proof: Acknowledgement | None) -> None:
    acknowledgement = proof or cluster.sidecars.settled()
    _note(cluster, rollout, even_taken_back=True, acknowledged=weight)
    text = f"{weight:g} % of the traffic to the new release: {acknowledgement}"
    cluster.report(Event("weight", text, {"weight": weight, **_facts_of(acknowledgement)}))


def _facts_of(acknowledgement: Acknowledgement) -> dict[str, object]:
    return {
        "asked": acknowledgement.asked,
        "unasked": acknowledgement.unasked,
        "late": list(acknowledgement.late),
        "seconds": round(acknowledgement.seconds, 3),
    }


def _begin_step(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    memory.window = open_window(cluster, facts.rollout, time.monotonic())
    _note(cluster, facts.rollout, step_since=cluster.wall_clock())


def _next_step(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    _note(cluster, facts.rollout, step=facts.rollout.step + 1, step_since=None)


def _last_step(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    _note(cluster, facts.rollout, step=facts.rollout.last_step, step_since=None)


def _retire_old(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    _note(cluster, facts.rollout, retiring=True, forgotten="")


def _settle_mesh(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    final = _desired(cluster, facts.rollout.number, memory.job)
    _write(cluster, (switching(facts.rollout, cluster.service, _unchanged(cluster, decision, memory)),))
    _write(cluster, finishing(final, _unchanged(cluster, decision, memory)))


def _confirm_forgotten(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    rollout = facts.rollout
    gone = rollout.candidate if rollout.taken_back else rollout.stable
    proof = cluster.sidecars.forgotten(gone, rollout.policy.longest_request)
    _note(cluster, rollout, even_taken_back=True, forgotten=gone)
    cluster.report(Event("forgotten", f"{gone} is known to no caller: {proof}", {"release": gone, **_facts_of(proof)}))


def _promote_deployment(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    deployment = _candidates_deployment(cluster, facts.rollout)
    if deployment is not None:
        cluster.nomad.promote_deployment(deployment)
        cluster.report(Event("apply", f"deployment {deployment[:8]} promoted", {"deployment": deployment}))


def _finish(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    job = cluster.nomad.read_job(cluster.service)
    if job is not None:
        # Whoever registered the job may have ended before noting the version.
        cluster.store.amend(
            facts.rollout.number, lambda found: replace(found, job_version=found.job_version or job.version)
        )
    close_release(cluster, facts.rollout.number, ReleaseOutcome.SUCCEEDED, "")
    _end(cluster, facts, lambda journal: journal)


def _take_back(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    rollout, job = facts.rollout, cluster.nomad.read_job(cluster.service)
    version = job.version if job is not None and release_of(job.body) == rollout.candidate else None
    # The evidence goes with the instances, so it is collected before they are stopped.
    memory.failure = explain_failure(cluster.nomad, cluster.consul, cluster.service, version, decision.reason)
    cluster.report(
        Event("taken-back", f"the new release is taken back: {decision.reason}", {"reason": decision.reason})
    )
    _note(cluster, facts.rollout, taken_back=decision.reason, retiring=False, forgotten="")


def _fail_deployment(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    deployment = _candidates_deployment(cluster, facts.rollout)
    if deployment is not None:
        cluster.nomad.fail_deployment(deployment)
        cluster.report(Event("apply", f"deployment {deployment[:8]} failed on purpose", {"deployment": deployment}))


def _restore_job(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    """Nomad reverts to a version that it calls stable; where it knows none, the old job is registered by its body."""
    del memory
    versions = cluster.nomad.job_versions(cluster.service)
    old = next((found for found in versions if release_of(found.body) == facts.rollout.stable), None)
    observed = cluster.observe().job
    if observed is not None and observed.service_meta.get("release") != facts.rollout.candidate:
        return
    if old is None or observed is None:
        raise NotFoundError("nomad", f"restore job {cluster.service}", cluster.nomad.address, "the old version is gone")
    change = Change(
        "job", cluster.service, ChangeAction.UPDATE, (), job_again(old.body, observed.count), observed.modify_index
    )
    register(change, cluster.nomad, cluster.consul, cluster.report)


def _clean_mesh(cluster: Cluster, facts: Facts, decision: Decision, memory: Memory) -> None:
    stable = _desired(cluster, facts.rollout.stable_number, None)
    observed = _unchanged(cluster, decision, memory)
    if facts.split:
        _write(cluster, (defaulting(facts.rollout, cluster.service, observed),))
        observed = _unchanged(cluster, decision, memory)
    _write(cluster, finishing(stable, observed))


def _close(cluster: Cluster, facts: Facts, _: Decision, memory: Memory) -> None:
    del memory
    rollout = facts.rollout
    close_release(cluster, rollout.number, ReleaseOutcome.TAKEN_BACK, rollout.taken_back)
    who = rollout.taken_back_by or rollout.author.who
    rejection = Rejection(rollout.candidate, rollout.version, rollout.taken_back, who, cluster.wall_clock())
    _end(cluster, facts, lambda journal: journal.with_rejection(rejection))


def _desired(cluster: Cluster, number: int, at_hand: Desired | None) -> Desired:
    if at_hand is not None:
        return at_hand
    release = cluster.store.release(number)
    if release is None:
        where = f"read release {number} of {cluster.service}"
        raise NotFoundError("consul", where, cluster.consul.address, "its record is gone")
    return desired_of(release, {})


def _unchanged(cluster: Cluster, decision: Decision, memory: Memory) -> Observed:
    """What the servers hold, read before the decision is made once more, with the same outcome.

    Others may drive the same rollout: what they wrote before this changes the decision, and what they write after it
    moves the indexes. Raises ConflictError when the decision has changed.
    """
    observed = cluster.observe()
    rollout = cluster.store.journal().rollout
    if (
        rollout is None
        or rollout.number != decision.facts.rollout.number
        or decide(look(cluster, rollout, memory)).action is not decision.action
    ):
        raise _overtaken(cluster, decision)
    return observed


def _overtaken(cluster: Cluster, decision: Decision) -> ConflictError:
    return ConflictError("consul", decision.action, cluster.consul.address, "others drive the rollout, and were faster")


def _write(cluster: Cluster, changes: Iterable[Change]) -> None:
    write_in_order(changes, cluster.consul, cluster.report)


def _note(cluster: Cluster, rollout: Rollout, *, even_taken_back: bool = False, **fields: Any) -> Rollout | None:
    """Change fields of the rollout in the journal, unless it is another rollout or another step by now.

    What is taken back stays as it is, but for what is known of proxies (``even_taken_back``). Answers the rollout now.
    """

    def noted(journal: Journal) -> Journal:
        now = journal.rollout
        if now is None or (now.number, now.step) != (rollout.number, rollout.step):
            return journal
        return journal if now.taken_back and not even_taken_back else replace(journal, rollout=replace(now, **fields))

    return cluster.store.change(noted).rollout


def _end(cluster: Cluster, facts: Facts, how: Callable[[Journal], Journal]) -> None:
    def ended(journal: Journal) -> Journal:
        if journal.rollout is None or journal.rollout.number != facts.rollout.number:
            return journal
        return replace(how(journal), rollout=None)

    cluster.store.change(ended)


def _candidates_deployment(cluster: Cluster, rollout: Rollout) -> str | None:
    """The deployment of the new release while it is under way; that of a job which Nomad took back is another one."""
    job = cluster.nomad.read_job(cluster.service)
    if job is None or release_of(job.body) != rollout.candidate:
        return None
    found = deployment_of(cluster.nomad, cluster.service, job.version)
    return found.id if found is not None and not found.done else None


def _answered(samples: Mapping[str, EnvoySample | None]) -> dict[str, EnvoySample]:
    return {name: sample for name, sample in samples.items() if sample is not None}


_DOERS: dict[Action, Callable[[Cluster, Facts, Decision, Memory], None]] = {
    Action.PREPARE_MESH: _prepare_mesh,
    Action.REGISTER_JOB: _register_job,
    Action.ASK_PROBES: _ask_probes,
    Action.SET_WEIGHT: _set_weight,
    Action.CONFIRM_WEIGHT: _confirm_weight,
    Action.BEGIN_STEP: _begin_step,
    Action.SEND_REQUESTS: _send_requests,
    Action.NEXT_STEP: _next_step,
    Action.LAST_STEP: _last_step,
    Action.RETIRE_OLD: _retire_old,
    Action.SETTLE_MESH: _settle_mesh,
    Action.CONFIRM_FORGOTTEN: _confirm_forgotten,
    Action.PROMOTE_DEPLOYMENT: _promote_deployment,
    Action.FINISH: _finish,
    Action.TAKE_BACK: _take_back,
    Action.SPLIT_AGAIN: _split_again,
    Action.RETURN_TRAFFIC: _return_traffic,
    Action.FAIL_DEPLOYMENT: _fail_deployment,
    Action.RESTORE_JOB: _restore_job,
    Action.CLEAN_MESH: _clean_mesh,
    Action.CLOSE: _close,
}
