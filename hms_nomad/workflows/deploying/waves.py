"""``deploy`` of many specs: waves by who uses whom, several services at once, and no broken one stops the others.

What is up to date is found out by reading everything once, so that the same command again costs little: that is how a
fleet whose deploy was interrupted is finished.

Consul compiles the discovery chains of all services with intentions again for each other entry that is written. So of
the new services of a wave that are only registered, none has intentions before all have their other entries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.lock_session import LockSession
from hms_nomad.apply.progress import Event, Report
from hms_nomad.plan.change import Plan
from hms_nomad.rollout.journal import JournalError, journal_from, journal_key
from hms_nomad.spec.fleet import cycles, deploy_order
from hms_nomad.workflows.deploying import deploy as one
from hms_nomad.workflows.deploying.as_they_end import as_they_end
from hms_nomad.workflows.deploying.gate import Gate, Place
from hms_nomad.workflows.deploying.new_service import New, new_of
from hms_nomad.workflows.deploying.outcome import DeployOptions, DeployOutcome, Status
from hms_nomad.workflows.observe import at_once
from hms_nomad.workflows.operating.status import healthy_instances
from hms_nomad.workflows.planning.plan import Planned, plan_each
from hms_nomad.workflows.platform.gateway import all_route_warnings
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile

AT_ONCE = 8
"""Services that are deployed at the same time; each holds two connections to Nomad while it waits."""

_MOST_TOGETHER = 500
"""Services that meet at one gate; each of them has a thread, which takes memory while it waits."""

_ONLY_ON_STDOUT = frozenset({"image", "registered", "scaling"})


class Result(Struct, frozen=True):
    """How one service of a fleet ended: with an ``outcome``, an ``error``, or not tried at all, for a reason."""

    file: SpecFile
    outcome: DeployOutcome | None = None
    error: Exception | None = None
    held_back: str = ""

    @property
    def good(self) -> bool:
        """True when the service is what its spec says, or on its way to it."""
        return self.outcome is not None and self.outcome.failure is None


class Fleet(Struct, frozen=True):
    """What the servers said of all specs before the first one was deployed."""

    planned: Mapping[str, Planned]
    rolling: frozenset[str]
    healthy: Mapping[str, int]
    warnings: tuple[str, ...]

    def unchanged(self, name: str, *, detached: bool) -> Plan | None:
        """The plan of a service for which nothing is to do; None when there is something, or it is not known.

        Who does not wait (``detached``) has nothing to do with a deployment that runs already.
        """
        found = self.planned[name].plan
        if found is None or name in self.rolling:
            return None
        return found if found.empty or (detached and found.waits) else None

    def new(self, name: str) -> New | None:
        """What was read of a service of which nothing was there; None where it has to be read by itself."""
        found = self.planned[name]
        if found.plan is None or found.desired is None or found.observed is None:
            return None
        return new_of(found.desired, found.plan, found.observed)


def look_at(session: Session, files: Sequence[SpecFile]) -> Fleet:
    """Read the servers once for all specs; the number of calls to Consul does not grow with their number.

    Raises the errors of ``hms_nomad.clients.errors``; what concerns a single service is kept for that service.
    """
    specs = [file.spec for file in files]
    prefix = journal_key(session.platform.namespace, "")
    planned, journals, checks, warnings = at_once(
        [
            partial(plan_each, session, specs, ask_scheduler=False),
            partial(session.consul.kv_list, prefix),
            session.consul.all_checks,
            partial(all_route_warnings, session, specs),
        ]
    )
    rolling = set()
    for pair in journals:
        try:
            busy = journal_from(pair.value, pair.key).rollout is not None
        except JournalError:
            busy = True
        if busy:
            rolling.add(pair.key.removeprefix(prefix))
    return Fleet(
        planned={found.spec.name: found for found in planned},
        rolling=frozenset(rolling),
        healthy=healthy_instances(checks),
        warnings=warnings,
    )


def deploy_all(
    session: Session,
    files: Sequence[SpecFile],
    options: Callable[[SpecFile], DeployOptions],
    report: Report,
    told: Callable[[Result], None],
    *,
    fail_fast: bool = False,
) -> tuple[Result, ...]:
    """Deploy many specs, what others use first; answers their results in the order of ``files``.

    ``options`` are those of each spec; ``report`` hears of all of them, from several threads; ``told`` hears each
    result as it comes. After a failure the others are deployed all the same, but for those that use a service of which
    nothing runs; with ``fail_fast`` nothing new is begun. Raises the errors of ``look_at``; an interruption leaves
    services under way, which the same command finishes.
    """
    fleet = look_at(session, files)
    locks = LockSession(session.consul)
    session = replace(session, locks=locks)
    by_name = {file.spec.name: file for file in files}
    results: dict[str, Result] = {}
    chosen_of: dict[str, DeployOptions] = {}
    read_as_new: dict[str, New | None] = {}
    stop = threading.Event()

    def work(file: SpecFile, place: Place | None) -> Result:
        if stop.is_set():
            return Result(file, held_back="another service failed")
        if broken := sorted(name for name in file.spec.uses if _is_missing(results.get(name), fleet)):
            return Result(file, held_back=f"it uses {', '.join(broken)}, of which nothing runs")
        chosen = chosen_of[file.spec.name]
        if (found := fleet.unchanged(file.spec.name, detached=chosen.detach)) is not None:
            return Result(file, _as_it_was(fleet, file, found))
        try:
            new = read_as_new[file.spec.name]
            if place is not None and new is not None:
                new = replace(new, meet=place.meet)
            elif place is not None:
                place.leave()
            return Result(file, one.deploy(session, file.spec, chosen, _named(file.spec.name, report), new))
        except Exception as error:  # noqa: BLE001 - one service's error is its result, and no reason to stop the others
            return Result(file, error=error)

    for circle in cycles(file.spec for file in files):
        report(Event("warning", f"{', '.join(circle)} use each other in a circle, so none of them can come first", {}))
    with locks.kept():
        for wave in deploy_order(file.spec for file in files):
            chosen_of.update({name: options(by_name[name]) for name in wave})
            # Who does not wait comes to it soon after everything was read.
            read_as_new.update({name: fleet.new(name) if chosen_of[name].detach else None for name in wave})
            # With ``fail_fast`` few services have begun when one fails.
            meeting = sum(read_as_new[name] is not None for name in wave) > 1 and not fail_fast
            for result in _results(work, [by_name[name] for name in wave], meeting=meeting):
                results[result.file.spec.name] = result
                if fail_fast and not result.good:
                    stop.set()
                told(result)
    for warning in fleet.warnings:
        report(Event("warning", warning, {}))
    return tuple(results[file.spec.name] for file in files)


def _results(
    work: Callable[[SpecFile, Place | None], Result], files: Sequence[SpecFile], *, meeting: bool
) -> Iterator[Result]:
    """The results of one wave as they come; ``meeting`` services get a place at a gate, which they may come to."""
    if not meeting:
        yield from as_they_end(lambda file: work(file, None), files, AT_ONCE)
        return
    for first in range(0, len(files), _MOST_TOGETHER):
        some = files[first : first + _MOST_TOGETHER]
        gate = Gate(len(some), AT_ONCE)

        def placed(file: SpecFile, gate: Gate = gate) -> Result:
            with gate.place() as place:
                return work(file, place)

        yield from as_they_end(placed, some, len(some))


def _is_missing(result: Result | None, fleet: Fleet) -> bool:
    """Whether a dependency of this fleet failed without an earlier release that still runs."""
    if result is None or result.good:
        return False
    found = fleet.planned[result.file.spec.name].plan
    return found is None or found.release_before is None


def _as_it_was(fleet: Fleet, file: SpecFile, found: Plan) -> DeployOutcome:
    desired = fleet.planned[file.spec.name].desired
    return DeployOutcome(
        service=file.spec.name,
        status=Status.DETACHED if found.waits else Status.UNCHANGED,
        changed=False,
        version=file.spec.version,
        release=found.release_after,
        url=desired.registry.url if desired else "",
        instances=fleet.healthy.get(file.spec.name, 0),
        scaling={"min": file.spec.scaling.min, "max": file.spec.scaling.max},
        plan=found,
    )


def _named(name: str, report: Report) -> Report:
    """A report whose events say which service they are of."""

    def told(event: Event) -> None:
        if event.kind in _ONLY_ON_STDOUT:
            return
        kind = event.kind if event.kind in ("apply", "warning") else "fleet"
        report(replace(event, kind=kind, message=f"{name}: {event.message}", data={**event.data, "allocation": name}))

    return told
