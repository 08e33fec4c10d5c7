"""``plan``: specs -> what a deploy of each would change; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.foresee import foresee
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import Desired
from hms_nomad.plan.change import Action, ForeignObjectError, Plan
from hms_nomad.plan.diff import make_plan, promoting_itself, with_attempt
from hms_nomad.plan.observed import Observed
from hms_nomad.platform.model import PlatformError
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.deploying.external import plan_external
from hms_nomad.workflows.deploying.service_secrets import with_secrets
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.observe import known, observe, read_all
from hms_nomad.workflows.session import Session


class Planned(Struct, frozen=True):
    """The plan of one spec, or the ``error`` that is in the way of it and of no other spec."""

    spec: Spec
    desired: Desired | None = None
    plan: Plan | None = None
    observed: Observed | None = None
    error: Exception | None = None


class _Open(Struct, frozen=True):
    """A spec of which a server has to be asked."""

    spec: Spec
    desired: Desired


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

    Nine calls at once read what all of them need, however many they are. Nomad takes one more for each job that is not
    as we registered it or not as it is desired now, and, with ``ask_scheduler``, one for each job that would be
    registered. Raises the errors of ``hms_nomad.clients.errors``.
    """
    mesh, jobs = read_all(session.nomad, session.consul, session.platform.namespace)

    def without_asking(spec: Spec) -> Planned | _Open:
        try:
            desired = compile_spec(spec, session.platform, session.pins)
            observed = known(desired, mesh, jobs) if desired.outside is None else None
            if observed is None:
                return _Open(spec, desired)
            found = with_secrets(session, desired, make_plan(desired, observed))
            if ask_scheduler and _registers(found):
                return _Open(spec, desired)
            return Planned(spec, desired, found, observed)
        except (ForeignObjectError, PlatformError) as error:
            return Planned(spec, error=error)

    def asked(one: _Open) -> Planned:
        try:
            if one.desired.outside is not None:
                return Planned(one.spec, one.desired, plan_external(session, one.desired, mesh))
            observed = observe(session.nomad, one.spec.name, mesh, jobs)
            found = with_secrets(session, one.desired, make_plan(one.desired, observed))
            if ask_scheduler and _registers(found):
                found = foreseen(session, found, observed)
            return Planned(one.spec, one.desired, found, observed)
        except (ForeignObjectError, PlatformError) as error:
            return Planned(one.spec, error=error)

    first = [without_asking(spec) for spec in specs]
    answers = iter(side_by_side(asked, [one for one in first if isinstance(one, _Open)]))
    return tuple(next(answers) if isinstance(one, _Open) else one for one in first)


def _registers(found: Plan) -> bool:
    """Whether a deploy would register the job."""
    change = next(change for change in found.changes if change.kind == "job")
    return change.action is not Action.KEEP or (found.unfinished and not found.under_way)


def foreseen(session: Session, found: Plan, observed: Observed) -> Plan:
    """The same plan with what Nomad's scheduler says of its registration."""
    change = next(change for change in found.changes if change.kind == "job")
    change = with_attempt(change, observed.job) if found.unfinished else change
    change = change if found.new_release else promoting_itself(change)
    if change.body is None:
        return found
    return replace(found, foresight=foresee(session.nomad, change.body))
