"""``stop``: a service goes, in the reverse of the order in which it came; what is not ours stays.

First nobody is sent to it from outside any more, then its instances drain and end, then the rules of the mesh go.
"""

from __future__ import annotations

import time

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.registered import forget_registered
from hms_nomad.apply.vault_roles import remove_roles
from hms_nomad.apply.write import write_entries
from hms_nomad.clients.errors import ConflictError, DeadlineExceededError
from hms_nomad.compile.desired import OWNER, OWNER_KEY, Desired, RegistryRecord
from hms_nomad.compile.http_routes import ROUTE_KIND
from hms_nomad.plan.change import Action, Change, ForeignObjectError
from hms_nomad.plan.diff import own_keys, own_routes
from hms_nomad.plan.intentions import KIND as INTENTIONS
from hms_nomad.plan.intentions import merged_intentions
from hms_nomad.plan.normal import entry_differences
from hms_nomad.plan.observed import Observed
from hms_nomad.rollout.journal import Journal
from hms_nomad.rollout.release import releases_prefix
from hms_nomad.rollout.store import RolloutStore
from hms_nomad.workflows.deploying.external import is_external, unlink_external
from hms_nomad.workflows.deploying.guard import Intent, guarded
from hms_nomad.workflows.deploying.service_secrets import all_roles
from hms_nomad.workflows.observe import observe, read_mesh
from hms_nomad.workflows.operating.runs import runs
from hms_nomad.workflows.session import Session

_DEFAULTS = "service-defaults"
_TRIES = 5
_WAIT_SECONDS = 10.0


class StopOptions(Struct, frozen=True):
    """``timeout`` bounds the waiting for the instances' end, in seconds; ``purge`` makes Nomad forget the job too."""

    timeout: float = 120.0
    purge: bool = False


class StopPlan(Struct, frozen=True):
    """What a stop would do: whether the job runs, the entries that go or change, and the services that call this one.

    ``forgets`` and ``records`` say that the job and the records of its releases are to be forgotten, ``rolls`` that a
    rollout is under way. ``outside`` is True for an external service, ``vault`` is what it has in Vault and goes.
    ``ran`` are the runs of a job with a schedule, ``living`` those that have not ended. ``foreign`` are objects of that
    name that are not ours and stay.
    """

    service: str
    runs: bool
    rolls: bool
    forgets: bool
    records: bool
    changes: tuple[Change, ...]
    callers: tuple[str, ...]
    foreign: tuple[str, ...]
    outside: bool = False
    vault: tuple[Change, ...] = ()
    ran: tuple[str, ...] = ()
    living: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """True when there is nothing to do."""
        objects = (*self.changes, *self.vault, *self.living)
        return not (self.runs or self.rolls or self.forgets or self.records or objects)


class StopOutcome(Struct, frozen=True):
    """What a stop did; ``changed`` is False when nothing was there."""

    service: str
    changed: bool
    purged: bool
    removed: tuple[str, ...]
    callers: tuple[str, ...]
    foreign: tuple[str, ...]


def plan_stop(session: Session, name: str, options: StopOptions) -> StopPlan:
    """What there is to stop. Raises ForeignObjectError when a job of that name runs that is not ours."""
    mesh = read_mesh(session.consul)
    observed = observe(session.nomad, name, mesh)
    job = observed.job
    if job is not None and job.meta.get(OWNER_KEY) != OWNER:
        raise ForeignObjectError("job", name)
    keys = (*own_routes(name, observed), *reversed(own_keys(name)))
    stored = [(key, observed.entries.get(key)) for key in keys]
    entries, foreign = [], []
    for key, entry in stored:
        if entry is None:
            continue
        if (entry.body.get("Meta") or {}).get(OWNER_KEY) == OWNER:
            entries.append(Change(*key, Action.DELETE, (), None, entry.modify_index))
        else:
            foreign.append(" ".join(key))
    journal = _store(session, name).journal()
    ran = runs(session, name) if job is not None and job.body.get("Periodic") else ()
    intentions = _intention_changes(observed, name, session.platform.namespace)
    if _others_need_the_protocol(observed, intentions, name):
        entries = [change for change in entries if (change.kind, change.name) != (_DEFAULTS, name)]
        foreign.append(f"{_DEFAULTS} {name} (rights by path that others gave need it)")
    return StopPlan(
        service=name,
        runs=job is not None and not job.stopped,
        rolls=journal.rollout is not None,
        forgets=job is not None and options.purge,
        records=options.purge
        and (journal != Journal() or bool(session.consul.kv_list(releases_prefix(session.platform.namespace, name)))),
        changes=tuple(
            [change for change in entries if change.kind == ROUTE_KIND]
            + intentions
            + [change for change in entries if change.kind != ROUTE_KIND]
        ),
        callers=_callers(observed, name),
        foreign=tuple(foreign),
        outside=is_external(mesh, name),
        vault=all_roles(session, name, job) if options.purge else (),
        ran=tuple(run.id for run in ran),
        living=tuple(run.id for run in ran if not run.stop and run.status != "dead"),
    )


def stop(session: Session, name: str, options: StopOptions, report: Report) -> StopOutcome:
    """Stop a service and remove what was made for it; the second time there is nothing to do.

    Rights that other services' specs declared stay, so that they hold again when the service comes back. Raises
    ForeignObjectError, JournalError, LockedError while another command works on it, DeadlineExceededError when
    instances do not end in time, ConflictError when somebody else keeps changing an entry, and the other errors of
    ``hms_nomad.clients.errors``. Any interruption is repaired by the same command.
    """
    with guarded(session, name, Intent("stop"), report) as run:
        return run.concluded(_stop(session, name, options, run.report))


def _stop(session: Session, name: str, options: StopOptions, report: Report) -> StopOutcome:
    deadline = time.monotonic() + options.timeout
    plan = plan_stop(session, name, options)
    report(Event("plan", f"{len(plan.changes)} entries to remove or change", {"changes": len(plan.changes)}))
    removed: list[str] = []

    def noted(event: Event) -> None:
        if event.kind == "apply":
            removed.append(event.message)
        report(event)

    _remove(session, plan, options, noted, routes=True)
    if plan.outside:
        unlink_external(session, name, noted)
    if plan.rolls:
        # Whoever drives it sees so, and moves no more traffic.
        _store(session, name).change(lambda journal: replace(journal, rollout=None))
        noted(Event("apply", f"rollout of {name} ended", {"kind": "rollout", "name": name, "action": "delete"}))
    if plan.runs:
        session.nomad.stop_job(name)
        noted(_done(name, "stopped"))
    # Nomad lets the runs of a job with a schedule go on when the job itself is stopped.
    for each in plan.living:
        session.nomad.stop_job(each)
        noted(_done(each, "stopped"))
    if not plan.empty:
        for each in (name, *plan.living):
            _await_end(session, each, deadline, report)
    if plan.vault and session.vault is not None:
        remove_roles(plan.vault, session.vault, noted)
    if plan.forgets:
        # Only now: Nomad lists no instances of a job that it has forgotten.
        for each in (name, *plan.ran):
            session.nomad.stop_job(each, purge=True)
        noted(_done(name, "forgotten"))
    _remove(session, plan, options, noted, routes=False)
    forget_registered(session.consul, session.platform.namespace, name)
    if plan.records:
        _store(session, name).forget()
        noted(Event("apply", f"records of {name} forgotten", {"kind": "records", "name": name, "action": "delete"}))
    return StopOutcome(
        service=name,
        changed=not plan.empty,
        purged=plan.forgets or plan.records,
        removed=tuple(removed),
        callers=plan.callers,
        foreign=plan.foreign,
    )


def _store(session: Session, name: str) -> RolloutStore:
    return RolloutStore(session.consul, session.platform.namespace, name)


def _done(name: str, word: str) -> Event:
    return Event("apply", f"job {name} {word}", {"kind": "job", "name": name, "action": "delete"})


def _remove(session: Session, plan: StopPlan, options: StopOptions, report: Report, *, routes: bool) -> None:
    """Write the entries of one half of the plan, each half in its order; a lost race means looking again."""
    for remaining in reversed(range(_TRIES)):
        try:
            for change in plan.changes:
                if (change.kind == ROUTE_KIND) is routes:
                    write_entries((change,), session.consul, report)
        except ConflictError:
            if remaining == 0:
                raise
            plan = plan_stop(session, plan.service, options)
        else:
            return


def _await_end(session: Session, name: str, deadline: float, report: Report) -> None:
    """Until no allocation runs: their sidecars serve the requests that are on their way."""
    index, last = 0, -1
    while True:
        answer = session.nomad.job_allocations(name, index=index, wait=min(_WAIT_SECONDS, deadline - time.monotonic()))
        living = [allocation for allocation in answer.value if not allocation.done]
        if not living:
            return
        if len(living) != last:
            last = len(living)
            report(Event("drain", f"{last} instances of {name} still run", {"instances": last}))
        if time.monotonic() >= deadline:
            ids = ", ".join(allocation.id[:8] for allocation in living)
            raise DeadlineExceededError(
                f"{last} instances of {name} have not ended in time ({ids}); the mesh's entries stay until they have, "
                "and the same command goes on"
            )
        index = answer.index


def _intention_changes(observed: Observed, name: str, namespace: str) -> list[Change]:
    """Our sources go from all service-intentions; entries that hold others' sources stay without ours."""
    routers = {key[1]: entry.body for key, entry in observed.entries.items() if key[0] == "service-router"}
    stored = {destination: entry.body for destination, entry in observed.intentions.items()}
    changes = []
    for destination, body in sorted(merged_intentions(_nothing(name, namespace), stored, routers).items()):
        before = observed.intentions.get(destination)
        if before is None:
            continue
        change = Change(INTENTIONS, destination, Action.DELETE, (), None, before.modify_index)
        if body is None:
            changes.append(change)
        elif fields := entry_differences(before.body, body):
            changes.append(replace(change, action=Action.UPDATE, fields=fields, body=body))
    return changes


def _others_need_the_protocol(observed: Observed, intentions: list[Change], name: str) -> bool:
    """Whether rights by path to this service stay: Consul then keeps the declaration of its protocol."""
    stored = observed.intentions.get(name)
    left = next((change.body for change in intentions if change.name == name), stored.body if stored else None)
    return any(source.get("Permissions") for source in (left or {}).get("Sources") or ())


def _nothing(name: str, namespace: str) -> Desired:
    """What a spec that is gone stands for.

    Callers keep the right to call without permissions by path: Consul takes those only while the service's protocol is
    declared, and the next deploy narrows the rights again before it starts an instance.
    """
    return Desired(
        service=name,
        namespace=namespace,
        release="",
        digest="",
        job={},
        entries=(),
        intentions=(),
        permissions=(),
        vault=(),
        registry=RegistryRecord(name, "", "", "", 0, "", ()),
    )


def _callers(observed: Observed, name: str) -> tuple[str, ...]:
    """Services that may call this one by name: they will get no answer any more."""
    entry = observed.intentions.get(name)
    sources = (entry.body.get("Sources") or ()) if entry else ()
    return tuple(
        sorted(
            source["Name"]
            for source in sources
            if source["Name"] != "*" and (source.get("Action") == "allow" or source.get("Permissions"))
        )
    )
