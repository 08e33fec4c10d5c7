"""Named probes and requests of our own -> does every new instance answer as it should, before users ask it.

An instance is asked through the plaintext listener that its sidecar opens for exactly the probe's path.
"""

from __future__ import annotations

from msgspec import Struct

from hms_nomad.apply.progress import Event
from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.http_call import Target, ask
from hms_nomad.clients.nomad_types import Allocation
from hms_nomad.compile.names import HEALTH_PORT, probe_port
from hms_nomad.plan.observed import release_of
from hms_nomad.rollout.cluster import Cluster
from hms_nomad.rollout.journal import Rollout
from hms_nomad.rollout.look import candidate_allocations
from hms_nomad.rollout.policy import Policy, ProbeQuestion

_LONGEST_QUOTE = 200
# A listener may be a moment behind the health check; an answer, whatever it says, counts at once.
_TRIES = 3
_HEALTH_TIMEOUT_SECONDS = 5.0


class _Asked(Struct, frozen=True):
    question: ProbeQuestion
    port: str


def ask_probes(cluster: Cluster, rollout: Rollout) -> str:
    """Ask each named probe at each new instance; "" when all passed, else what the first failed one answered."""
    for allocation in _instances(cluster):
        for probe in rollout.policy.probes:
            fault = _ask(_Asked(probe, probe_port(probe.name)), allocation)
            if fault:
                return fault
        if rollout.policy.probes:
            names = ", ".join(probe.name for probe in rollout.policy.probes)
            facts = {"allocation": allocation.id, "probes": [probe.name for probe in rollout.policy.probes]}
            cluster.report(Event("probe", f"{allocation.id[:8]} passes {names}", facts))
    return ""


def send_requests(cluster: Cluster, rollout: Rollout) -> str:
    """Send as many requests as a step needs to be judged, spread over the new instances; "" when enough succeeded."""
    questions = _questions(rollout.policy)
    if not questions:
        return "too few requests, and neither a probe nor an http health path to send own ones to"
    instances = _instances(cluster)
    wanted = max(1, rollout.policy.min_requests)
    failed, last = 0, ""
    for number in range(wanted):
        fault = _ask(questions[number % len(questions)], instances[number % len(instances)])
        failed, last = (failed + 1, fault) if fault else (failed, last)
    success = 100.0 * (wanted - failed) / wanted
    text = f"success {success:.1f} % of {wanted} requests of our own"
    cluster.report(Event("requests", text, {"sent": wanted, "failed": failed}))
    return f"{text} < {rollout.policy.success:g} %; the last one: {last}" if success < rollout.policy.success else ""


def _questions(policy: Policy) -> list[_Asked]:
    asked = [_Asked(probe, probe_port(probe.name)) for probe in policy.probes]
    if policy.health_path is not None:
        health = ProbeQuestion("health", "GET", policy.health_path, _HEALTH_TIMEOUT_SECONDS)
        asked.append(_Asked(health, HEALTH_PORT))
    return asked


def _instances(cluster: Cluster) -> list[Allocation]:
    """The running new instances, with their ports."""
    job = cluster.nomad.read_job(cluster.service)
    if job is None or not release_of(job.body):
        return []
    found = candidate_allocations(cluster, job)
    running = (each for each in found if each.client_status == "running" and each.desired_status == "run")
    return [cluster.nomad.read_allocation(each.id) for each in running]


def _ask(asked: _Asked, allocation: Allocation) -> str:
    question, where = asked.question, f"at instance {allocation.id[:8]}"
    port = allocation.ports.get(asked.port)
    if port is None:
        return f"probe {question.name} cannot be asked {where}: it has no port {asked.port}"
    target = Target(f"probe {question.name}", port.host_ip, port.value)
    fault = ""
    for _ in range(_TRIES):
        try:
            answer = ask(target, question.method, question.path, {}, None, question.timeout)
        except ServerError as error:
            fault = f"probe {question.name} got no answer {where}: {error.detail}"
            continue
        if 200 <= answer.status < 300:
            return ""
        quote = " ".join(answer.body.decode("utf-8", "replace").split())[:_LONGEST_QUOTE]
        return (
            f"probe {question.name} failed {where}: {question.method} {question.path} answered {answer.status} {quote}"
        )
    return fault
