"""Nomad's event stream -> news of single jobs, for any number of followers over one connection."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from msgspec import Struct

from hms_nomad.clients.errors import ServerError
from hms_nomad.clients.nomad_parse import parse_allocation, parse_deployment
from hms_nomad.clients.nomad_types import Allocation, Deployment, Event

_TOPICS = {"Deployment": ["*"], "Allocation": ["*"]}


class News(Struct, frozen=True):
    """A deployment or an allocation of a job as it was right after the change at ``index``.

    The allocation names its deployment, and not its job's version.
    """

    index: int
    deployment: Deployment | None = None
    allocation: Allocation | None = None


class Stream(Protocol):
    """``NomadClient.events``."""

    def __call__(
        self,
        topics: Mapping[str, Sequence[str]],
        index: int = 0,
        deadline: float | None = None,
        wanted: Callable[[], bool] = ...,
    ) -> Iterator[Event]:
        """Events from an index on."""


class JobNews:
    """The stream of one client: opened for the first follower, and left within seconds after the last one went."""

    def __init__(self, events: Stream) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._followers: dict[str, list[Follower]] = {}
        self._reading = False
        self._next = 0

    @contextmanager
    def of(self, job_id: str, index: int = 0) -> Iterator[Follower]:
        """Follow one job: what happens to it from now on is news, and from raft index ``index`` on where Nomad has it.

        So whoever reads the job's state inside the block, and then waits for news, misses nothing.
        """
        follower = Follower(self, index)
        with self._lock:
            self._followers.setdefault(job_id, []).append(follower)
        self.read(index)
        try:
            yield follower
        finally:
            with self._lock:
                left = [one for one in self._followers[job_id] if one is not follower]
                self._followers[job_id] = left
                if not left:
                    del self._followers[job_id]

    def read(self, index: int) -> None:
        """Open the stream where it is not open."""
        with self._lock:
            if self._reading:
                return
            self._reading = True
            self._next = max(self._next, index)
        threading.Thread(target=self._read, name="hms-nomad-events", daemon=True).start()

    def _read(self) -> None:
        fault: ServerError | None = None
        try:
            # Each follower has a deadline of its own; until then a server that is away may come back.
            for event in self._events(_TOPICS, index=self._next, deadline=math.inf, wanted=self._wanted):
                self._tell(event)
        except ServerError as error:
            fault = error
        finally:
            with self._lock:
                self._reading = False
                followers = [one for those in self._followers.values() for one in those]
            for one in followers:
                # Without a fault it was left in the moment in which this follower came.
                one.hear(fault)

    def _wanted(self) -> bool:
        with self._lock:
            return bool(self._followers)

    def _tell(self, event: Event) -> None:
        body = event.payload.get(event.topic) or {}
        with self._lock:
            self._next = event.index + 1
            followers = tuple(self._followers.get(str(body.get("JobID")), ()))
        if not followers:
            return
        if event.topic == "Deployment":
            news = News(event.index, deployment=parse_deployment(body))
        else:
            news = News(event.index, allocation=parse_allocation(body))
        for one in followers:
            one.hear(news)


class Follower:
    """Hears the news of one job; made by ``JobNews.of``."""

    def __init__(self, source: JobNews, index: int) -> None:
        self._source = source
        self._index = index
        self._heard: queue.SimpleQueue[News | ServerError | None] = queue.SimpleQueue()

    def hear(self, news: News | ServerError | None) -> None:
        """Keep what ``next`` will answer or raise; None wakes it up without any."""
        self._heard.put(news)

    def next(self, seconds: float) -> News | None:
        """The next news, or None when there is none within ``seconds``, or none is known for sure.

        Raises the fault that ended the stream; who asks again opens it again.
        """
        self._source.read(self._index)
        try:
            heard = self._heard.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if isinstance(heard, ServerError):
            raise heard
        return heard
