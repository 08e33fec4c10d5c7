"""``deploy`` and ``stop`` of ``kind: external``: the mesh learns, or forgets, the way to what runs elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from hms_nomad.apply.failure import Failure
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
from hms_nomad.workflows.deploying.guard import guarded, intent
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.observe import Mesh, observe, read_mesh
from hms_nomad.workflows.platform.egress import Verdict, await_closed, verdict_on
from hms_nomad.workflows.session import Session

_PATIENCE_SECONDS = 60.0
_WAIT_SECONDS = 5.0
_CLOSING_SECONDS = 15.0
_TRIES = 5
# Other specs write into these too, so losing a race for one means planning again.
_SHARED = (INTENTIONS, EGRESS_KIND)
_CA_FILE = "CAFile"


def deploy_external(session: Session, spec: Spec, options: DeployOptions, report: Report) -> DeployOutcome:
    """Bring the way to an external service into the mesh, and wait until callers see it; twice changes nothing.

    What the egress refuses is taken back, and the outcome says why. Raises UnrollableChangeError for options of a
    rollout, ForeignObjectError for objects that are not ours, PlatformError, ConflictError, DeadlineExceededError, and
    the errors of ``hms_nomad.clients.errors``.
    """
    if options.strategy or options.until_healthy or options.in_cluster:
        raise UnrollableChangeError(f"{spec.name} runs elsewhere: it has no traffic that could move step by step")
    deadline = time.monotonic() + (options.timeout or _PATIENCE_SECONDS)
    desired = compile_spec(spec, session.platform, session.pins)
    with guarded(session, spec.name, intent("deploy", desired, options, deadline), report) as run:
        mesh = read_mesh(session.consul)
        plan = plan_external(session, desired, mesh)
        if options.guard is not None:
            options.guard(plan)
        run.report(Event("plan", f"{len(plan.effective)} objects to change", planned_facts(plan)))
        before = _observe(session, desired.service, desired)
        if not plan.empty:
            _repeated(lambda: _write(session, desired, run.report))
            if not options.detach:
                _await_way(session, desired, deadline)
        verdict = _verdict(session, desired, plan, options, deadline)
        if verdict.failure is not None:
            failure = _take_back(session, desired, plan, (mesh, before), verdict.failure, run.report)
            return run.concluded(_outcome(session, desired, plan, Status.FAILED, Verdict(failure)))
        status = Status.UNCHANGED if plan.empty else Status.DEPLOYED
        return run.concluded(_outcome(session, desired, plan, status, verdict))


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


def _verdict(session: Session, desired: Desired, plan: Plan, options: DeployOptions, deadline: float) -> Verdict:
    """What the egress made of the way.

    With TLS it is asked in any case: it goes on in plain text where it refuses. Otherwise nobody waits for it whose
    command ends early, or changes nothing.
    """
    where = desired.outside
    if where is None or not session.consul.instances(where.egress).value:
        return Verdict()
    tls = _CA_FILE in where.link
    if not tls and (options.detach or plan.empty):
        return Verdict()
    return verdict_on(session, where.egress, desired.service, deadline, tls=tls)


def _take_back(
    session: Session,
    desired: Desired,
    plan: Plan,
    before: tuple[Mesh, ObservedOutside],
    failure: Failure,
    report: Report,
) -> Failure:
    """Bring back what was changed, the way first; answers the failure with what became of the way.

    A way without TLS is not brought back where TLS was asked for: it is closed. What is new stays, without a way to it;
    so do rights.
    """
    mesh, outside = before
    link = _link_of(outside.egress, desired.service)
    # A way that was refused as it stands was there before, too, and is no better now.
    kept = link is not None and _CA_FILE in link and any(change.kind == EGRESS_KIND for change in plan.effective)
    _repeated(lambda: _relink(session, desired, link if kept else None, report))
    for change in plan.effective:
        if change.action is not Action.UPDATE or change.kind in _SHARED:
            continue
        if change.kind == REGISTRATION:
            _register_again(session, desired, outside, report)
            continue
        stored = session.consul.read_entry(change.kind, change.name)
        session.consul.write_entry(mesh.entries[change.kind, change.name].body, stored.modify_index if stored else 0)
        report(_applied(change.kind, change.name, "taken back", Action.UPDATE))
    became = "it is as it was before" if kept else _closed(session, desired)
    return replace(failure, reason=f"{failure.reason}; {became}")


def _closed(session: Session, desired: Desired) -> str:
    """What became of a way that was taken out of the egress, once its instances had the time to close it."""
    egress, name = desired.outside.egress if desired.outside else "", desired.service
    open_ = await_closed(session, egress, name, time.monotonic() + _CLOSING_SECONDS)
    if open_:
        return f"the way to {name} is taken out of {egress}, but may still be open at {', '.join(open_)}"
    return f"the way to {name} is closed, so that nothing goes there in plain text"


def _relink(session: Session, desired: Desired, link: Mapping[str, Any] | None, report: Report) -> None:
    where = desired.outside
    entry = session.consul.read_entry(EGRESS_KIND, where.egress) if where else None
    if entry is None:
        return
    others = without_link(entry.body, desired.service)
    links = sorted([*others["Services"], *([link] if link else ())], key=lambda one: str(one["Name"]))
    session.consul.write_entry({**others, "Services": links}, entry.modify_index)
    report(_applied(EGRESS_KIND, entry.name, "taken back", Action.UPDATE))


def _register_again(session: Session, desired: Desired, outside: ObservedOutside, report: Report) -> None:
    for node, (address, port, meta) in outside.registered.items():
        name = desired.service
        session.consul.catalog_register(ExternalService(node, address, name, name, port, meta=meta))
        report(_applied(REGISTRATION, name, "taken back", Action.UPDATE))


def _link_of(egress: ObservedEntry | None, service: str) -> Mapping[str, Any] | None:
    links = egress.body.get("Services") or () if egress else ()
    return next((link for link in links if link["Name"] == service and link), None)


def _outcome(session: Session, desired: Desired, plan: Plan, status: Status, verdict: Verdict) -> DeployOutcome:
    ways = len(session.consul.instances(desired.service, passing=True, connect=True).value)
    egress = desired.outside.egress if desired.outside else ""
    waits = (
        f"{desired.service} waits for the egress {egress}, which does not run; see hms-nomad platform install egress"
    )
    unasked = f"{', '.join(verdict.unasked)} of {egress} cannot be asked whether it leads to {desired.service} now"
    warnings = [] if ways or verdict.failure else [waits]
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
        failure=verdict.failure,
        warnings=(*warnings, *((unasked,) if verdict.unasked else ())),
        kind="external",
    )


def _applied(kind: str, name: str, verb: str, action: Action) -> Event:
    return Event("apply", f"{kind} {name} {verb}", {"kind": kind, "name": name, "action": str(action)})
