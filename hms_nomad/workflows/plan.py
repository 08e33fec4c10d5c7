"""``plan``: specs -> what a deploy of each would change; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, ForeignObjectError, Plan
from hms_nomad.plan.diff import make_plan, promoting_itself, with_attempt
from hms_nomad.plan.foresight import Foresight, counts
from hms_nomad.plan.observed import Observed
from hms_nomad.platform.model import PlatformError
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.external import plan_external
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.observe import observe, read_jobs, read_mesh
from hms_nomad.workflows.session import Session


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of one spec, or the ``error`` that is in the way of it and of no other spec."""

    spec: Spec
    desired: Desired | None = None
    plan: Plan | None = None
    error: Exception | None = None


def plan(session: Session, specs: Sequence[Spec], *, ask_scheduler: bool = True) -> tuple[Plan, ...]:
    """The plans of specs, in their order. Raises like ``plan_each``, and the first error of a single spec."""
    found = plan_each(session, specs, ask_scheduler=ask_scheduler)
    for one in found:
        if one.error is not None:
            raise one.error
    return tuple(one.plan for one in found if one.plan is not None)


def plan_each(session: Session, specs: Sequence[Spec], *, ask_scheduler: bool = True) -> tuple[Planned, ...]:
    """The plans of specs, in their order; objects that are not ours, and a platform that cannot run a spec, are errors
    of that spec alone.

    Consul is read once for all of them, however many they are; Nomad takes two calls for its lists, one for each job
    that exists and, with ``ask_scheduler``, one for each job that would be registered. Raises the errors of
    ``hms_nomad.clients.errors``.
    """
    mesh = read_mesh(session.consul)
    jobs = read_jobs(session.nomad) if len(specs) > 1 else None

    def planned(spec: Spec) -> Planned:
        try:
            desired = compile_spec(spec, session.platform)
            if desired.outside is not None:
                return Planned(spec, desired, plan_external(session, desired, mesh))
            observed = observe(session.nomad, spec.name, mesh, jobs)
            found = make_plan(desired, observed)
            return Planned(spec, desired, foreseen(session, found, observed) if ask_scheduler else found)
        except (ForeignObjectError, PlatformError) as error:
            return Planned(spec, error=error)

    return tuple(side_by_side(planned, specs))


def foreseen(session: Session, found: Plan, observed: Observed) -> Plan:
    """The same plan with what Nomad's scheduler says of its registration, where there would be one."""
    change = next(change for change in found.changes if change.kind == "job")
    if change.action is Action.KEEP and (found.under_way or not found.unfinished):
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
