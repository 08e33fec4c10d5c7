"""``events``: what happens on the platform as CloudEvents, delivered at least once, and going on after a break.

Sources run side by side and hand on what they find; one place numbers, notes and delivers it in batches. What was noted
but not known to have arrived is delivered again, marked as ``redelivered``.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from hms_nomad.apply.checkpoint import Checkpoint
from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import UnavailableError, UnknownOutcomeError
from hms_nomad.clients.event_sink import Sink
from hms_nomad.clients.transport import backoff
from hms_nomad.workflows.feed.events import Desk, Item, Kind
from hms_nomad.workflows.feed.mesh import tell_certificates, tell_changes
from hms_nomad.workflows.feed.nomad import NomadSource
from hms_nomad.workflows.session import Session

_BATCH = 500
_GATHER_SECONDS = 0.5
_WAITING = 10_000
_NOTE_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_Inbox: TypeAlias = "queue.Queue[Item | BaseException | None]"
_FROM_NOMAD = frozenset({Kind.ACCESS, Kind.DENIAL, Kind.SCALING, Kind.DEPLOYMENT})


class FeedOptions(Struct, frozen=True):
    """``since`` (seconds since 1970) bounds what is told of a source at its first time; ``kinds`` what is told at all.

    Without ``follow`` the feed ends with what is there.
    """

    follow: bool = False
    since: float = 0.0
    kinds: frozenset[Kind] = frozenset(Kind)


def origin_of(session: Session) -> str:
    """What a checkpoint of this session's feed is a checkpoint of."""
    return f"{session.platform.name}/{session.platform.namespace}"


def feed(session: Session, options: FeedOptions, checkpoint: Checkpoint, sink: Sink, report: Report) -> int:
    """Deliver to ``sink`` what happened since the ``checkpoint``; answers how many events were delivered.

    Without ``follow`` the events come in the order of their times; else each source keeps its own order. A sink that
    cannot take them is tried again, without end when following. Raises AuditError, CheckpointError and the errors of
    ``hms_nomad.clients.errors``.
    """
    delivery = Delivery(checkpoint, sink, report, None if options.follow else _PATIENCE_SECONDS)
    delivery.repeat()
    stop = threading.Event()
    inbox: _Inbox = queue.Queue(_WAITING)
    positions = dict(checkpoint.positions)
    desk = Desk(
        platform=session.platform,
        since=options.since,
        follow=options.follow,
        positions=positions,
        emit=lambda item: _put(inbox, item, positions, stop),
        fail=inbox.put,
        warn=lambda text: report(Event("warning", text)),
        stop=stop,
        kinds=options.kinds,
    )
    sources = _sources(session, desk)
    for source in sources:
        threading.Thread(target=_run, args=(source, desk, inbox), daemon=True).start()
    try:
        if options.follow:
            for batch in _batches(inbox, len(sources)):
                delivery.take(batch)
        else:
            delivery.take(list(_all(inbox, len(sources))), by_time=True)
    finally:
        stop.set()
    return delivery.count


class Delivery:
    """Hands batches to the sink, one after the other, and notes what became of each."""

    def __init__(self, checkpoint: Checkpoint, sink: Sink, report: Report, patience: float | None) -> None:
        self._checkpoint = checkpoint
        self._sink = sink
        self._report = report
        self._patience = patience
        self._noted = time.monotonic()
        self._held: dict[str, Any] = {}
        self.count = 0

    def repeat(self) -> None:
        """Deliver again what the feed before this one may or may not have delivered."""
        if self._checkpoint.pending:
            self._send([{**event, "redelivered": True} for event in self._checkpoint.pending])
            self._checkpoint.settle()

    def take(self, items: Sequence[Item], *, by_time: bool = False) -> None:
        """Deliver the events of some items; the places of items without events are noted now and then only."""
        self._held |= {item.key: item.position for item in items}
        events = [item.event for item in items if item.event is not None]
        if by_time:
            events.sort(key=lambda event: str(event["time"]))
        if not events and not by_time and time.monotonic() - self._noted < _NOTE_SECONDS:
            return
        if self._held:
            self._send(self._checkpoint.prepare(self._held, events))
            self._checkpoint.settle()
        self._held, self._noted = {}, time.monotonic()

    def _send(self, events: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(events), _BATCH):
            self._send_batch(events[start : start + _BATCH])

    def _send_batch(self, events: Sequence[dict[str, Any]]) -> None:
        begun, tries = time.monotonic(), 0
        while True:
            try:
                self._sink.deliver(events)
            except (UnavailableError, UnknownOutcomeError) as error:
                tries += 1
                if self._patience is not None and time.monotonic() - begun > self._patience:
                    raise
                if tries == 1:
                    self._report(Event("warning", f"{error}; trying again until it is taken"))
                time.sleep(backoff(tries))
                if isinstance(error, UnknownOutcomeError) or error.status is not None:
                    events = [{**event, "redelivered": True} for event in events]
            else:
                if tries:
                    self._report(Event("sink", f"delivered again after {tries} tries"))
                self.count += len(events)
                return


def _sources(session: Session, desk: Desk) -> list[Callable[[], None]]:
    found: list[Callable[[], None]] = []
    if Kind.CHANGE in desk.kinds:
        found.append(lambda: tell_changes(session, desk))
    if desk.kinds & _FROM_NOMAD:
        found.append(NomadSource(session, desk).run)
    if Kind.CERTIFICATE in desk.kinds:
        found.append(lambda: tell_certificates(session, desk))
    return found


def _run(source: Callable[[], None], desk: Desk, inbox: _Inbox) -> None:
    """Run a source to its end; one that follows outlives its server's absence, from the place that it had reached."""
    tries = 0
    while not desk.stop.is_set():
        try:
            source()
        except UnavailableError as error:
            if not desk.follow:
                inbox.put(error)
                return
            tries += 1
            if tries == 1:
                desk.warn(f"{error}; trying again")
            desk.stop.wait(backoff(tries))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever reads the inbox
            inbox.put(error)
            return
        else:
            inbox.put(None)
            return


def _put(inbox: _Inbox, item: Item, positions: dict[str, Any], stop: threading.Event) -> None:
    """Hand an item on, and wait while the sink is behind."""
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            inbox.put(item, timeout=_GATHER_SECONDS)
            break
    if item.position is None:
        positions.pop(item.key, None)
    else:
        positions[item.key] = item.position


def _all(inbox: _Inbox, sources: int) -> Iterator[Item]:
    """What comes until all sources have ended. Raises what ended one of them."""
    while sources:
        found = inbox.get()
        if found is None:
            sources -= 1
        elif isinstance(found, Item):
            yield found
        else:
            raise found


def _batches(inbox: _Inbox, sources: int) -> Iterator[list[Item]]:
    """The same in batches: each has what comes within half a second, up to 500. Empty ones come too."""
    while sources:
        batch: list[Item] = []
        until = time.monotonic() + _GATHER_SECONDS
        with contextlib.suppress(queue.Empty):
            while sources and len(batch) < _BATCH:
                found = inbox.get(timeout=max(0.01, until - time.monotonic()))
                if found is None:
                    sources -= 1
                elif isinstance(found, Item):
                    batch.append(found)
                else:
                    raise found
        yield batch
