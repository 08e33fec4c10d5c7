"""``logs``: the last lines of every instance of a service, and the new ones of all of them as they come."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.clients.errors import NotFoundError, ServerError, UnavailableError
from hms_nomad.clients.nomad_types import Allocation
from hms_nomad.compile.names import TASK as TASK  # noqa: PLC0414 - the task whose output is shown by default
from hms_nomad.workflows.operating.instances import instances_of, job_meant, with_task
from hms_nomad.workflows.session import Session

_WATCH_SECONDS = 30.0
_PAUSE_SECONDS = 1.0


class LogLine(Struct, frozen=True):
    """One line that an instance wrote; ``stream`` is stdout or stderr."""

    allocation: str
    stream: str
    text: str


class LogOptions(Struct, frozen=True):
    """``tail`` lines before the end of each stream of each instance (None: all of them), those that match ``pattern``
    only. ``allocation`` is the beginning of one instance's id, which may have ended already. ``until`` ends following,
    in seconds of a monotonic clock.
    """

    tail: int | None
    streams: tuple[str, ...] = ("stdout", "stderr")
    allocation: str = ""
    pattern: re.Pattern[str] | None = None
    task: str = TASK
    until: float | None = None


def read_logs(session: Session, name: str, options: LogOptions, report: Report) -> Iterator[LogLine]:
    """The lines that are there now, instance by instance.

    An instance that cannot be read is reported, and left out as long as another one can. Raises NotFoundError when
    there is no such service or instance, and the other errors of ``hms_nomad.clients.errors``.
    """
    unreadable: list[ServerError] = []
    name = job_meant(session, name, _reading(name))
    chosen = _chosen(session, name, options)
    for allocation in chosen:
        try:
            for stream in options.streams:
                lines = session.nomad.logs(allocation.id, options.task, stream, _asked_tail(options), follow=False)
                yield from _kept(allocation, stream, lines, options)
        except NotFoundError:
            report(Event("log", f"{allocation.id[:8]} has written nothing yet", {"allocation": allocation.id}))
        except ServerError as error:
            unreadable.append(error)
            report(Event("warning", str(error), {"allocation": allocation.id}))
    if unreadable and len(unreadable) == len(chosen):
        raise unreadable[0]


def follow_logs(session: Session, name: str, options: LogOptions, report: Report) -> Iterator[LogLine]:
    """The last lines and then the new ones, also of instances that start later; ends when the service is stopped.

    Raises as ``read_logs``. Closing the iterator ends all reading.
    """
    name = job_meant(session, name, _reading(name))
    _chosen(session, name, options)
    follower = _Follower(session, name, options, report)
    try:
        yield from follower.lines()
    finally:
        follower.stop.set()


def _chosen(session: Session, name: str, options: LogOptions) -> list[Allocation]:
    """The instances whose logs are meant: the named one, else those that live, else the latest."""
    found = instances_of(session, name, _reading(name), options.allocation)
    if not options.allocation:
        found = [one for one in found if not one.done] or found[-1:]
    return with_task(session, name, _reading(name), found, options.task)


def _reading(name: str) -> str:
    return f"read logs of {name}"


def _asked_tail(options: LogOptions) -> int | None:
    """With a pattern everything is read: the last lines are counted among those that match."""
    return None if options.pattern else options.tail


def _kept(allocation: Allocation, stream: str, lines: Iterator[str], options: LogOptions) -> Iterator[LogLine]:
    pattern = options.pattern
    matching: Iterator[str] = (line for line in lines if pattern is None or pattern.search(line))
    if pattern is not None and options.tail is not None:
        matching = iter(deque(matching, maxlen=options.tail))
    return (LogLine(allocation.id, stream, line) for line in matching)


class _Ended(Struct, frozen=True):
    """A thread has ended; ``error`` is what ended the whole reading, if anything did."""

    error: BaseException | None = None


class _Follower:
    """One thread for each stream of each instance and one that looks for new instances, all into one queue."""

    def __init__(self, session: Session, name: str, options: LogOptions, report: Report) -> None:
        self.stop = threading.Event()
        self._session = session
        self._name = name
        self._options = options
        self._report = report
        self._queue: queue.SimpleQueue[LogLine | Event | _Ended] = queue.SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()

    def lines(self) -> Iterator[LogLine]:
        self._start(self._watch)
        until = self._options.until
        while self._threads:
            try:
                item = self._queue.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if isinstance(item, LogLine):
                yield item
            elif isinstance(item, Event):
                self._report(item)
            else:
                if item.error is not None:
                    raise item.error
                with self._lock:
                    self._threads -= 1

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        with self._lock:
            self._threads += 1
        # Daemons: a read that waits for its server must not keep an interrupted command alive.
        threading.Thread(target=self._run, args=(work, *arguments), daemon=True).start()

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever reads the queue
            self._queue.put(_Ended(error))
        else:
            self._queue.put(_Ended())

    def _watch(self) -> None:
        """Start a reader for each instance whose task has started; the first round's begin with the last lines."""
        seen: set[str] = set()
        index, first = 0, True
        while not self.stop.is_set():
            answer = self._session.nomad.job_allocations(self._name, index=index, wait=_WATCH_SECONDS)
            index = answer.index
            meant = [one for one in answer.value if one.id.startswith(self._options.allocation)]
            for allocation in meant:
                if allocation.id in seen or not self._has_output(allocation, first):
                    continue
                seen.add(allocation.id)
                for stream in self._options.streams:
                    self._start(self._read, allocation, stream, self._options.tail if first else None)
            first = False
            if all(one.done for one in meant) and (self._options.allocation or self._is_over()):
                return

    def _has_output(self, allocation: Allocation, first: bool) -> bool:
        if first and allocation.done and not self._options.allocation:
            return False
        state = allocation.tasks.get(self._options.task)
        return state is not None and any(event.type == "Started" for event in state.events)

    def _is_over(self) -> bool:
        """Whether no instance can follow: the service was stopped, or the job has run to its end."""
        job = self._session.nomad.read_job(self._name)
        return job is None or job.stop or (job.type == "batch" and job.status == "dead")

    def _read(self, allocation: Allocation, stream: str, tail: int | None) -> None:
        options = self._options
        while not self.stop.is_set():
            try:
                lines = self._session.nomad.logs(allocation.id, options.task, stream, tail, follow=True, stop=self.stop)
                for line in lines:
                    if options.pattern is None or options.pattern.search(line):
                        self._queue.put(LogLine(allocation.id, stream, line))
            except UnavailableError as error:
                self._queue.put(Event("warning", f"{error}; trying again", {"allocation": allocation.id}))
                self.stop.wait(_PAUSE_SECONDS)
                tail = 0
            except NotFoundError:
                return
            else:
                return
