"""``plan``: specs -> what a deploy of each would change; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hms_nomad.compile import compile_spec
from hms_nomad.plan.change import Action, Plan
from hms_nomad.plan.diff import make_plan, promoting_itself, with_attempt
from hms_nomad.plan.foresight import Foresight, counts
from hms_nomad.plan.observed import Observed
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.observe import observe, read_jobs, read_mesh
from hms_nomad.workflows.session import Session


def plan(session: Session, specs: Sequence[Spec], *, ask_scheduler: bool = True) -> tuple[Plan, ...]:
    """The plans of specs, in their order.

    Consul is read once for all of them, however many they are; Nomad takes two calls for its lists, one for each job
    that exists and, with ``ask_scheduler``, one for each job that would be registered. Raises ForeignObjectError for
    objects that are not ours, and the errors of ``hms_nomad.clients.errors``.
    """
    mesh = read_mesh(session.consul)
    jobs = read_jobs(session.nomad) if len(specs) > 1 else None

    def planned(spec: Spec) -> Plan:
        observed = observe(session.nomad, spec.name, mesh, jobs)
        found = make_plan(compile_spec(spec, session.platform), observed)
        return foreseen(session, found, observed) if ask_scheduler else found

    return tuple(side_by_side(planned, specs))


def foreseen(session: Session, found: Plan, observed: Observed) -> Plan:
    """The same plan with what Nomad's scheduler says of its registration, where there would be one."""
    change = next(change for change in found.changes if change.kind == "job")
    if change.action is Action.KEEP and not found.unfinished:
        return found
    change = with_attempt(change, observed.job) if found.unfinished else change
    change = change if found.new_release else promoting_itself(change)
    if change.body is None:
        return found
    answer = session.nomad.plan_job(change.body)
    foresight = Foresight(
        groups={group: counts(updates) for group, updates in answer.updates.items()},
        unplaced={group: failure.reason() for group, failure in answer.failed.items()},
        warnings=answer.warnings,
    )
    return replace(found, foresight=foresight)
