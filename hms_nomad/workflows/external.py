"""``deploy`` and ``stop`` of ``kind: external``: the mesh learns, or forgets, the way to what runs elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.run_journal import planned_facts
from hms_nomad.apply.write import write_entries
from hms_nomad.clients.consul_types import ExternalService
from hms_nomad.clients.errors import ConflictError, DeadlineExceededError
from hms_nomad.compile import compile_spec
from hms_nomad.compile.desired import OWNER, OWNER_KEY, Desired
from hms_nomad.compile.external import EXTERNAL_KEY
from hms_nomad.compile.proxy_job import EGRESS_KIND
from hms_nomad.plan.change import Action, Change, Plan
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.observed import ObservedEntry
from hms_nomad.plan.outside import REGISTRATION, ObservedOutside, plan_outside, without_link
from hms_nomad.rollout.begin import UnrollableChangeError
from hms_nomad.spec.model import Spec
from hms_nomad.workflows.guard import guarded, intent
from hms_nomad.workflows.observe import Mesh, observe, read_mesh
from hms_nomad.workflows.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.session import Session

_PATIENCE_SECONDS = 60.0
_WAIT_SECONDS = 5.0
_TRIES = 5
# Other specs write into these too, so losing a race for one means planning again.
_SHARED = (INTENTIONS, EGRESS_KIND)


def deploy_external(session: Session, spec: Spec, options: DeployOptions, report: Report) -> DeployOutcome:
    """Bring the way to an external service into the mesh, and wait until callers see it; twice changes nothing.

    Raises UnrollableChangeError for options of a rollout, ForeignObjectError for objects that are not ours,
    PlatformError, ConflictError, DeadlineExceededError, and the errors of ``hms_nomad.clients.errors``.
    """
    if options.strategy or options.until_healthy:
        raise UnrollableChangeError(f"{spec.name} runs elsewhere: it has no traffic that could move step by step")
    deadline = time.monotonic() + (options.timeout or _PATIENCE_SECONDS)
    desired = compile_spec(spec, session.platform)
    with guarded(session, spec.name, intent("deploy", desired, options, deadline), report) as run:
        plan = plan_external(session, desired, read_mesh(session.consul))
        if options.guard is not None:
            options.guard(plan)
        run.report(Event("plan", f"{len(plan.effective)} objects to change", planned_facts(plan)))
        if plan.empty:
            return run.concluded(_outcome(session, desired, plan, Status.UNCHANGED))
        _repeated(lambda: _write(session, desired, run.report))
        if not options.detach:
            _await_way(session, desired, deadline)
        return run.concluded(_outcome(session, desired, plan, Status.DEPLOYED))


def plan_external(session: Session, desired: Desired, mesh: Mesh) -> Plan:
    """What must change for an external service. Raises ForeignObjectError, and the errors of the clients."""
    observed = observe(session.nomad, desired.service, mesh)
    return plan_outside(desired, observed, _observe(session, desired.service, desired))


def is_external(mesh: Mesh, name: str) -> bool:
    """True when the mesh has an external service of ours by this name."""
    stored = mesh.entries.get(("service-defaults", name))
    meta = (stored.body.get("Meta") or {}) if stored else {}
    return meta.get(OWNER_KEY) == OWNER and EXTERNAL_KEY in meta


def unlink_external(session: Session, name: str, report: Report) -> None:
    """Take the way to an external service out of the egress and the catalog; what is gone already is no error.

    Its rules stay, for ``stop`` to remove as it does for every service. Raises ConflictError and the other errors of
    ``hms_nomad.clients.errors``.
    """
    _repeated(lambda: _unlink(session, name, report))
    for one in session.consul.instances(name).value:
        if one.meta.get(OWNER_KEY) == OWNER and EXTERNAL_KEY in one.meta:
            session.consul.catalog_deregister(one.node)
            report(_applied(REGISTRATION, name, "removed", Action.DELETE))


def _observe(session: Session, name: str, desired: Desired) -> ObservedOutside:
    egress = session.consul.read_entry(EGRESS_KIND, desired.outside.egress) if desired.outside else None
    return ObservedOutside(
        registered={one.node: (one.address, one.port, one.meta) for one in session.consul.instances(name).value},
        egress=ObservedEntry(egress.body, egress.modify_index) if egress else None,
    )


def _write(session: Session, desired: Desired, report: Report) -> None:
    """Plan anew and write what differs: the rules first, then where it is, then the way to it."""
    for change in plan_external(session, desired, read_mesh(session.consul)).effective:
        if change.kind == REGISTRATION:
            _register(session, desired, change, report)
        else:
            write_entries((change,), session.consul, report)


def _register(session: Session, desired: Desired, change: Change, report: Report) -> None:
    if desired.outside is None:
        return
    where = desired.outside
    service = ExternalService(
        node=where.node,
        address=where.address,
        id=desired.service,
        service=desired.service,
        port=where.port,
        meta=where.meta,
    )
    session.consul.catalog_register(service)
    report(_applied(REGISTRATION, desired.service, "written", change.action))


def _unlink(session: Session, name: str, report: Report) -> None:
    for entry in session.consul.list_entries(EGRESS_KIND):
        named = any(link.get("Name") == name for link in entry.body.get("Services") or ())
        if named and (entry.body.get("Meta") or {}).get(OWNER_KEY) == OWNER:
            session.consul.write_entry(without_link(entry.body, name), entry.modify_index)
            report(_applied(EGRESS_KIND, entry.name, "updated", Action.UPDATE))


def _repeated(write: Callable[[], None]) -> None:
    for remaining in reversed(range(_TRIES)):
        try:
            write()
        except ConflictError as conflict:
            if remaining == 0 or not any(kind in conflict.operation for kind in _SHARED):
                raise
        else:
            return


def _await_way(session: Session, desired: Desired, deadline: float) -> None:
    """Until callers see the egress as the way to the service; without an egress there is nothing to wait for."""
    if desired.outside is None or not session.consul.instances(desired.outside.egress).value:
        return
    index = 0
    while True:
        answer = session.consul.instances(desired.service, passing=True, connect=True, index=index, wait=_WAIT_SECONDS)
        if answer.value:
            return
        if time.monotonic() > deadline:
            raise DeadlineExceededError(f"no healthy instance of {desired.outside.egress} leads to {desired.service}")
        index = answer.index


def _outcome(session: Session, desired: Desired, plan: Plan, status: Status) -> DeployOutcome:
    ways = len(session.consul.instances(desired.service, passing=True, connect=True).value)
    egress = desired.outside.egress if desired.outside else ""
    waits = (
        f"{desired.service} waits for the egress {egress}, which does not run; see hms-nomad platform install egress"
    )
    return DeployOutcome(
        service=desired.service,
        status=status,
        changed=status is not Status.UNCHANGED,
        version=desired.registry.version,
        release="",
        url=desired.registry.url,
        instances=ways,
        scaling={},
        plan=plan,
        warnings=() if ways else (waits,),
        kind="external",
    )


def _applied(kind: str, name: str, verb: str, action: Action) -> Event:
    return Event("apply", f"{kind} {name} {verb}", {"kind": kind, "name": name, "action": str(action)})
