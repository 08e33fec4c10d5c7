"""``plan``: specs -> what a deploy of each would change; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from hms_nomad.compile import compile_spec
from hms_nomad.plan.change import Plan
from hms_nomad.plan.diff import make_plan
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.fleet import side_by_side
from hms_nomad.workflows.observe import observe, read_mesh
from hms_nomad.workflows.session import Session


def plan(session: Session, specs: Sequence[Spec]) -> tuple[Plan, ...]:
    """The plans of specs, in their order; Consul is read once for all of them.

    Raises ForeignObjectError for objects that are not ours, and the errors of ``hms_nomad.clients.errors``.
    """
    mesh = read_mesh(session.consul)

    def planned(spec: Spec) -> Plan:
        return make_plan(compile_spec(spec, session.platform), observe(session.nomad, spec.name, mesh))

    return tuple(side_by_side(planned, specs))
