"""A task's output -> lines, each with the place where it ends, so that a reader can go on after the last one it took.

Nomad keeps an output in files ``TASK.stdout.N`` with rising numbers, and deletes the oldest. A frame says which file it
is of, but not reliably at which byte it begins, so the bytes are counted from the first file that is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import requests
from msgspec import Struct

from hms_nomad.clients.classify import lost_answer
from hms_nomad.clients.nomad_logs import Frame, FrameDecoder
from hms_nomad.clients.stream import UNCOMPRESSED, arriving
from hms_nomad.clients.transport import Transport
from hms_nomad.patterns import lazy_pattern

_SILENCE_SECONDS = 15.0
_LONGEST_LINE = 1024 * 1024
_NUMBER = lazy_pattern(r"\.([0-9]+)$")


class Place(Struct, frozen=True, order=True):
    """A place in an output: the ``offset`` in bytes from the beginning of the file with this number."""

    file: int
    offset: int


class PlacedLine(Struct, frozen=True):
    """A line and the place right behind it.

    ``text`` is None where there is none: everything up to ``end`` is read for now, or, with ``lost``, the output from
    that place up to ``end`` was deleted before it was read.
    """

    end: Place
    text: str | None = None
    lost: Place | None = None


class PlacedReader:
    """Reads the stdout of one task from a place on."""

    def __init__(self, transport: Transport, endpoint: Any, alloc_id: str, task: str) -> None:
        """``endpoint`` is python-nomad's ``client.stream_logs``."""
        self._transport = transport
        self._endpoint = endpoint
        self._alloc_id = alloc_id
        self._task = task
        self._operation = f"read stdout of task {task} in allocation {alloc_id[:8]}"

    def follow(self, after: Place | None, stop: threading.Event, is_over: Callable[[], bool]) -> Iterator[PlacedLine]:
        """The lines behind ``after`` (None: all that are there), then new ones as they come.

        Ends after the last line once ``is_over`` says, during a silence, that nothing more is written or wanted, or
        when ``stop`` is set. A last line without a line end comes then too.
        """
        lines, over = LineCounter(after), False
        for frame in self._frames():
            if stop.is_set():
                return
            if frame.data:
                over = False
                yield from lines.feed(frame)
            elif over:
                yield from lines.rest()
                return
            else:
                yield from lines.pause()
                over = is_over()
        raise lost_answer(self._transport.request(self._operation, write=False), "the stream ended")

    def _frames(self) -> Iterator[Frame]:
        decoder = FrameDecoder()
        params = {"task": self._task, "type": "stdout", "follow": "true", "origin": "start", "offset": "0"}
        with self._transport.calling(self._operation, write=False, read_timeout=_SILENCE_SECONDS):
            response: requests.Response = self._endpoint.request(
                self._alloc_id, method="get", params=params, headers=dict(UNCOMPRESSED), stream=True
            )
        request = self._transport.request(self._operation, write=False)
        with response:
            for chunk in arriving(response, request, self._transport.connection, lambda: _SILENCE_SECONDS):
                try:
                    yield from decoder.frames(chunk)
                except ValueError as error:
                    raise lost_answer(request, str(error)) from None


class LineCounter:
    """Frames in their order -> lines with their places; what lies before the place ``after`` is left out."""

    def __init__(self, after: Place | None) -> None:
        self._after = after
        self._here: Place | None = None
        self._open = b""

    def feed(self, frame: Frame) -> Iterator[PlacedLine]:
        """The lines that a frame with data completes."""
        found = _NUMBER.search(frame.file)
        number = int(found.group(1)) if found else 0
        if self._here is None or number != self._here.file:
            yield from self._turn(Place(number, 0))
        here = self._here or Place(number, 0)
        self._here = Place(number, here.offset + len(frame.data))
        data, start = frame.data, here.offset
        if self._after is not None and here < self._after:
            if self._here <= self._after:
                return
            cut = self._after.offset - here.offset
            data, start = data[cut:], here.offset + cut
        yield from self._lines(data, number, start)

    def pause(self) -> Iterator[PlacedLine]:
        """Where all the lines so far end, when no line is open."""
        if self._here is not None and not self._open and (self._after is None or self._after <= self._here):
            yield PlacedLine(self._here)

    def rest(self) -> Iterator[PlacedLine]:
        """The last line, when the output does not end with a line end."""
        if self._open and self._here is not None:
            yield PlacedLine(self._here, self._open.decode("utf-8", "replace"))
        self._open = b""

    def _turn(self, begin: Place) -> Iterator[PlacedLine]:
        """The next file; a number that was skipped, or a place that is not there any more, is a loss."""
        before = self._here or self._after
        first = self._here is None
        self._here = begin
        if before is not None and begin.file > before.file + (0 if first else 1):
            # Where the file of ``after`` itself is gone, nobody can tell whether more of it had come.
            self._open = b""
            yield PlacedLine(begin, lost=before)

    def _lines(self, data: bytes, number: int, start: int) -> Iterator[PlacedLine]:
        position = start
        *whole, rest = data.split(b"\n")
        for piece in whole:
            position += len(piece) + 1
            yield PlacedLine(Place(number, position), (self._open + piece).decode("utf-8", "replace"))
            self._open = b""
        self._open += rest
        if len(self._open) >= _LONGEST_LINE:
            yield PlacedLine(Place(number, position + len(rest)), self._open.decode("utf-8", "replace"))
            self._open = b""
