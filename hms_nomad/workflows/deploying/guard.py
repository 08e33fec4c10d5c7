"""Around a changing command: the lock of the service, the journal of the run, and what is left when it gives up.

The journal is opened before the first write, whatever that is, so a command that finds nothing to do leaves none.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from msgspec.structs import replace

from hms_nomad.apply.audit import AuditError, ConsulTrail, FileTrail
from hms_nomad.apply.lock import Holder, ServiceLock, acquire, lock_key
from hms_nomad.apply.lock_session import LockSession
from hms_nomad.apply.progress import Event, Report
from hms_nomad.apply.run_journal import HalfDoneError, Run, RunJournal, planned_of
from hms_nomad.clients.consul_types import KvStep
from hms_nomad.clients.errors import ServerError, UnavailableError
from hms_nomad.clients.transport import before_writes
from hms_nomad.compile.desired import Desired
from hms_nomad.platform.model import PlatformError
from hms_nomad.rollout.store import Kept, RolloutStore
from hms_nomad.workflows.deploying.outcome import DeployOptions
from hms_nomad.workflows.deploying.run_record import Intent as Intent  # noqa: PLC0414 - offered here too
from hms_nomad.workflows.deploying.run_record import (
    Opening,
    accessor,
    record_of,
    result_of,
    result_of_error,
    run_of,
    why,
)
from hms_nomad.workflows.operating.audit import trail_of
from hms_nomad.workflows.session import Session

T = TypeVar("T")

_PATIENCE_SECONDS = 60.0
"""How long one call is tried again in the midst of changes: a server that is started again is back by then."""

_WAITING = frozenset({"hold", "drain"})
"""States of a rollout in which it waits for time to pass."""


def intent(command: str, desired: Desired, options: DeployOptions, deadline: float) -> Intent:
    """What a command that brings a service to ``desired`` is about to do, until ``deadline`` of the monotonic clock."""
    by = options.author
    return Intent(
        command,
        message=by.message if by else "",
        who=by.who if by else "",
        aim=desired.digest,
        same_seconds=deadline - time.monotonic(),
    )


class Guard:
    """What a guarded command reports through, and says how it ended to."""

    def __init__(
        self,
        session: Session,
        service: str,
        lock: ServiceLock,
        run: Run,
        report: Report,
        patience: contextlib.ExitStack,
        opening: Opening | None = None,
    ) -> None:
        self._session = session
        self._patience = patience
        self._lock = lock
        self._report = report
        self._journal = RunJournal(session.consul, session.platform.namespace, service)
        self._run = replace(run, lock_id=lock.holder.lock_id)
        self._index = self._journal.index_among(lock.opened, run.id)
        self._opened = False
        self.begun = _store(session, service).stored_among(lock.opened, opening.record) if opening else None
        """The record of the deploy that was kept with the lock, and the journal with it; None where they were not."""
        if self._index:
            self._open()
        self._behind = False
        self._ahead = False
        self._later: list[KvStep] = []
        self._otherwise: list[Callable[[], object]] = []
        self._result = ""

    def report(self, event: Event) -> None:
        """Pass an event on, and note in the journal what it says was planned, reached or done."""
        self._report(event)
        if event.kind == "deployment" or (event.kind == "rollout" and event.data.get("state") in _WAITING):
            self._look_ahead()
        run = self._run
        if event.kind == "plan" and "planned" in event.data:
            digest = str(event.data.get("digest") or run.digest)
            self._note(replace(run, planned=planned_of(event.data["planned"]), digest=digest))
        elif event.kind == "rollout" and "state" in event.data:
            self._note(replace(run, phase=str(event.data["state"])))
        elif event.kind == "apply":
            done = replace(run, phase="changing" if run.phase == "begun" else run.phase).with_done(event.message)
            if event.more:
                # Noted with the next one, which follows at once.
                self._run, self._behind = done, True
            else:
                self._note(done)

    @property
    def kept(self) -> Kept | None:
        """What was kept of the service before the lock was taken; None for who works without it."""
        return _store(self._session, self._run.service).kept_in(self._lock.read) if self._lock.held else None

    def later(self, step: KvStep, otherwise: Callable[[], object] | None = None) -> None:
        """Something to keep with the transaction at the end, which is only missed where this process dies before.

        ``otherwise`` does it where that transaction is refused (None: then it is left out).
        """
        self._later.append(step)
        if otherwise is not None:
            self._otherwise.append(otherwise)

    def concluded(self, outcome: T) -> T:
        """The command came to its end, good or bad, and nothing is left to do; answers what it came to."""
        self._result = result_of(outcome)
        return outcome

    def permit(self, operation: str) -> None:
        """Before each write: the lock still stands, and the journal is open."""
        del operation
        self._lock.check()
        if not self._opened:
            trail = trail_of(self._session)
            if trail is not None:
                trail.check()
            self._open()
            self._run = replace(self._run, accessor=accessor(self._session))
            self._index = self._journal.write(self._run, 0)

    def _open(self) -> None:
        # Until now nothing is lost by giving up; from now on a server that comes back soon is worth waiting for.
        self._patience.enter_context(self._session.retries.patient(_PATIENCE_SECONDS))
        self._opened = True

    @property
    def done(self) -> tuple[str, ...]:
        """What was changed so far, in words."""
        return self._run.done

    def close(self, error: BaseException | None) -> None:
        """End the journal of a run that came to its end, with those of dead ones before it; keep it else, and why."""
        if error is None:
            self._close_dead()
        if not self._opened:
            return
        gave_up = error is not None and not self._result
        result = self._result or "done"
        if gave_up and error is not None:
            self._run, result = replace(self._run, ended=why(error)), result_of_error(error)
        keeps_journal = gave_up and bool(self._run.done)
        if keeps_journal:
            self._journal.write(self._run, self._index)
        ending = (self._journal.closing(self._run.id, self._index),) if not keeps_journal and self._index else ()
        steps = (*ending, *self._later, *self._lock.steps())
        # What waited for the end is worth waiting for a server that comes back soon.
        patience = self._session.retries.patient(_PATIENCE_SECONDS) if self._later else contextlib.nullcontext()
        with patience:
            # Tidying up the record of a run that died changes no service.
            recorded = self._run.done or result != "unchanged"
            if (recorded and self._record(self._run, result, steps)) or self._keep(steps):
                return
            if not keeps_journal:
                self._journal.close(self._run.id)
            for do in self._otherwise:
                do()

    def _close_dead(self) -> None:
        """Runs that died or gave up before this one are mended by it, also where it found nothing left to change."""
        if self._lock.held and not self._journal.among(self._lock.read):
            return
        for old in self._journal.unfinished(self._run.id):
            if not old.run.ended:
                self._record(old.run, "died", ())
            self._journal.close(old.run.id)

    def _record(self, run: Run, result: str, steps: Sequence[KvStep]) -> bool:
        """Add a run to the audit trail, and do ``steps`` at that moment; False where these are still to be done.

        It is too late to forbid anything, so a fault is shown, and the work stands.
        """
        trail = trail_of(self._session)
        if trail is None:
            return False
        record = record_of(self._session, run, result)
        try:
            if isinstance(trail, FileTrail):
                trail.append(record)
                return False
            _, done = trail.append_with(record, steps)
        except (AuditError, ServerError) as fault:
            self._report(Event("warning", f"the audit trail lacks this change: {fault}", {"run": run.id}))
            return False
        if done and steps:
            self._lock.given_back()
        return done

    def _keep(self, steps: Sequence[KvStep]) -> bool:
        """The last steps by themselves; where one is refused, something of them changed meanwhile, such as a lock that
        was lost, or a journal that somebody closed.
        """
        if not steps:
            return True
        ended = self._session.consul.kv_transact(f"end the run of {self._run.service}", steps).done
        if ended:
            self._lock.given_back()
        return ended

    def _look_ahead(self) -> None:
        """While instances start, or end, nothing else is to be done; what cannot be read now is read at the end."""
        if not self._ahead and isinstance(trail := trail_of(self._session), ConsulTrail):
            with contextlib.suppress(AuditError, ServerError):
                trail.look_ahead()
        self._ahead = True

    def _note(self, run: Run) -> None:
        changed, self._run = self._behind or run != self._run, run
        if self._opened and changed and self._index:
            self._index, self._behind = self._journal.write(run, self._index), False


def _store(session: Session, service: str) -> RolloutStore:
    return RolloutStore(session.consul, session.platform.namespace, service)


def know_the_embedded(session: Session, report: Report) -> None:
    """Say that no Nomad is there but its stand-in for development, and refuse it anywhere else.

    Nomad must have answered before. Raises PlatformError.
    """
    if not session.nomad.embedded:
        return
    platform = session.platform
    if platform.production or not platform.development:
        raise PlatformError(
            f"{session.nomad.address} is the embedded agent, which is for development only, and the context "
            f"{platform.name} is no development stack's; give a context whose Nomad is a real one"
        )
    report(Event("embedded", "this is the embedded agent, for development only", {"address": session.nomad.address}))


@contextlib.contextmanager
def guarded(
    session: Session,
    service: str,
    intent: Intent,
    report: Report,
    *,
    looking: Callable[[], Opening | None] | None = None,
) -> Iterator[Guard]:
    """Hold the lock of a service, waiting ``session.lock_wait`` seconds for it, and keep a journal of what is changed.

    ``looking`` looks at the service before that, Nomad in any case, and answers what is to be kept with the lock (None:
    nothing; the journal is opened with the first change then, too).

    Raises LockedError when somebody else works on the service, LockLostError when the lock is lost on the way,
    HalfDoneError when a server is lost in the midst of changes, PlatformError for the embedded agent outside of
    development, and the errors of ``hms_nomad.clients.errors``.
    """
    namespace = session.platform.namespace
    journal, store = RunJournal(session.consul, namespace, service), _store(session, service)
    locks = session.locks or LockSession(session.consul)
    with locks.ahead(f"hms-nomad {service}"):
        # Whoever cannot reach Nomad, or one without a leader, takes no lock.
        opening = looking() if looking is not None else _glance(session, service)
        know_the_embedded(session, report)
        run = run_of(session, service, intent, opening)
        holder = Holder(service, run.who, intent.command, intent.aim, run.started, run.process, lock_id="")

        def opened(mine: Holder) -> tuple[KvStep, ...]:
            if opening is None:
                return ()
            return journal.opening(replace(run, lock_id=mine.lock_id)), store.adding(opening.record)

        def waiting(other: Holder) -> None:
            facts = {"service": service, "holder": other.who, "lock": other.lock_id}
            report(Event("lock", f"waiting for {other}", facts))

        begun = time.monotonic()
        lock = acquire(
            session.consul,
            lock_key(namespace, service),
            holder,
            begun + session.lock_wait,
            waiting,
            beside=intent.beside,
            take=intent.lock,
            same_deadline=begun + intent.same_seconds,
            session=locks,
            reading=(journal.reading(), *store.reading()),
            opening=opened,
        )
    patience = contextlib.ExitStack()
    guard = Guard(session, service, lock, run, report, patience, opening)
    ended: BaseException | None = None
    try:
        with patience, before_writes(guard.permit):
            yield guard
    except UnavailableError as fault:
        ended = fault
        if guard.done:
            raise HalfDoneError(fault, guard.done) from fault
        raise
    except BaseException as error:
        ended = error
        raise
    finally:
        try:
            guard.close(ended)
        except ServerError as fault:
            report(Event("warning", f"the journal of this run stays open: {fault}", {"service": service}))
        finally:
            lock.release()


def _glance(session: Session, service: str) -> Opening | None:
    session.nomad.read_job(service)
    return None
