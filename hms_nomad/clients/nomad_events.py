"""Nomad's event stream as an endless, gapless iterator: python-nomad's own reader repeats events and cannot end.

The stream is one JSON object a line: ``{}`` as a heartbeat every 10 seconds, else an index with its events.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import requests

from hms_nomad.clients.classify import lost_answer
from hms_nomad.clients.errors import DeadlineExceededError, UnavailableError
from hms_nomad.clients.nomad_parse import parse_event
from hms_nomad.clients.nomad_types import Event
from hms_nomad.clients.stream import UNCOMPRESSED, arriving
from hms_nomad.clients.transport import Transport, backoff

# Three heartbeats: a server that is silent for longer is gone, whatever its socket says.
_SILENCE_SECONDS = 30.0
# The first heartbeat comes at once, and never where the token may not read the events: Nomad then answers 200 and
# nothing else.
_FIRST_WORD_SECONDS = 5.0


class EventReader:
    """One reading of the stream, which outlives its connections."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Any,
        topics: Mapping[str, Sequence[str]],
        *,
        index: int = 0,
        deadline: float | None = None,
        wanted: Callable[[], bool] = lambda: True,
        check_rights: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``deadline`` is a value of ``clock``, in seconds; ``check_rights`` raises what a stream without a word hides.

        The other parameters are those of NomadClient.events.
        """
        self._transport = transport
        self._endpoint = endpoint
        self._topics = [f"{topic}:{key}" for topic, keys in topics.items() for key in keys]
        self._next_index = index
        self._deadline = deadline
        self._wanted = wanted
        self._check_rights = check_rights
        self._clock = clock
        self._sleep = sleep
        self._connected = False
        self._silent = True
        self._failures = 0
        self._first_failure = 0.0

    def read(self) -> Iterator[Event]:
        """Events, each once. Raises DeadlineExceededError, UnavailableError, or what makes another try useless."""
        while self._wanted():
            try:
                yield from self._connection()
                if self._wanted():
                    self._pause(None)
            except UnavailableError as error:
                self._pause(error)

    def _connection(self) -> Iterator[Event]:
        with contextlib.closing(self._open()) as response:
            for line in self._lines(response):
                body = self._decoded(line)
                self._silent = False
                self._failures = 0
                if not self._wanted():
                    return
                index = int(body.get("Index") or 0)
                # A server that was asked for an index it has not reached yet may start earlier.
                if not body.get("Events") or index < self._next_index:
                    continue
                events = [parse_event(event, index) for event in body["Events"]]
                self._next_index = index + 1
                yield from events

    def _open(self) -> requests.Response:
        params = {"topic": self._topics, "index": self._next_index}
        with self._transport.calling("follow events", write=False, read_timeout=self._silence()):
            response: requests.Response = self._endpoint.request(
                method="get", params=params, headers=dict(UNCOMPRESSED), stream=True
            )
        self._connected = True
        self._silent = True
        return response

    def _decoded(self, line: bytes) -> Mapping[str, Any]:
        try:
            body = json.loads(line)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            request = self._transport.request("follow events", write=False)
            raise lost_answer(request, "the stream holds a line that is no event")
        return body

    def _lines(self, response: requests.Response) -> Iterator[bytes]:
        """Whole lines; what a broken connection cut off is dropped, the next connection brings it again."""
        rest = b""
        request = self._transport.request("follow events", write=False)
        try:
            for data in arriving(response, request, self._transport.connection, self._silence):
                *lines, rest = (rest + data).split(b"\n")
                yield from (line for line in lines if line.strip())
            # Nomad ends a stream by itself when it stops, and when the token may not read it, even after a heartbeat.
            self._check_rights()
        except UnavailableError:
            if self._silent:
                self._check_rights()
            raise

    def _silence(self) -> float:
        return min(_FIRST_WORD_SECONDS if self._silent else _SILENCE_SECONDS, self._remaining())

    def _remaining(self) -> float:
        """Seconds until the deadline. Raises DeadlineExceededError when there are none."""
        if self._deadline is None:
            return _SILENCE_SECONDS
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            address = self._transport.connection.address
            raise DeadlineExceededError(f"nomad at {address}: the awaited event did not come in time")
        return remaining

    def _pause(self, error: UnavailableError | None) -> None:
        """Wait before the next connection; give up when the servers stayed away for too long."""
        now = self._clock()
        if self._failures == 0:
            self._first_failure = now
        self._failures += 1
        if error is not None:
            # A server that was never reached is a wrong address; one that was comes back after its restart.
            patience = self._transport.connection.retry_seconds
            if not self._connected and not error.transient:
                raise error
            if self._deadline is None and now - self._first_failure >= patience:
                raise error
        self._sleep(min(backoff(self._failures), self._remaining()))
