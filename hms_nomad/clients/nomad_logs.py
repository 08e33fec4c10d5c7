"""A task's output as lines, followed until the task is dead: python-nomad's own reader hangs on a followed log.

A followed log comes as JSON objects one after the other, each with base64 data; an empty one every second is a
heartbeat, which is when we look whether more can come.
"""

from __future__ import annotations

import base64
import codecs
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import requests
from msgspec import Struct

from hms_nomad.clients.classify import lost_answer
from hms_nomad.clients.stream import UNCOMPRESSED, arriving
from hms_nomad.clients.transport import Transport

# Heartbeats come each second; a node that is silent for longer than this is gone.
_SILENCE_SECONDS = 15.0
_FIRST_WINDOW = 16384
_LARGEST_WINDOW = 16 * 1024 * 1024
_LONGEST_LINE = 1024 * 1024
_LONGEST_FRAME = 4 * 1024 * 1024


class LogReader:
    """Reads one stream (``kind`` stdout or stderr) of one task."""

    def __init__(self, transport: Transport, endpoint: Any, alloc_id: str, task: str, kind: str) -> None:
        """``endpoint`` is python-nomad's ``client.stream_logs``."""
        self._transport = transport
        self._endpoint = endpoint
        self._alloc_id = alloc_id
        self._operation = f"read {kind} of task {task} in allocation {alloc_id[:8]}"
        self._params = {"task": task, "type": kind}

    def read(self, tail_lines: int | None) -> Iterator[str]:
        """The lines that are there now, or the last ``tail_lines`` of them."""
        if tail_lines is None:
            lines = Lines()
            for data in self._plain({"origin": "start", "offset": "0"}):
                yield from lines.feed(data)
            yield from lines.rest()
        else:
            tail, _ = self._tail(tail_lines)
            yield from tail

    def follow(self, tail_lines: int | None, stop: threading.Event, task_is_dead: Callable[[], bool]) -> Iterator[str]:
        """As ``read``, then new lines as they come; ends after the last line of a dead task or when ``stop`` is set."""
        origin, window, skipped = {"origin": "start", "offset": "0"}, 0, True
        if tail_lines is not None:
            _, window = self._tail(tail_lines)
            origin, skipped = {"origin": "end", "offset": str(window)}, False
        lines, backlog, dead = Lines(), bytearray(), False
        for frame in self._frames(origin):
            if stop.is_set():
                return
            data = frame
            if not skipped:
                # What was there already comes first and without a pause: the whole window, or all there is before the
                # first heartbeat.
                backlog += frame or b""
                if frame is not None and len(backlog) < window:
                    continue
                skipped, data = True, self._cut(bytes(backlog), window, tail_lines or 0)
            if data:
                yield from lines.feed(data)
            elif dead:
                break
            else:
                # One more heartbeat without data after the task's death: everything it wrote has come.
                dead = task_is_dead()
        yield from lines.rest()

    def _tail(self, count: int) -> tuple[tuple[str, ...], int]:
        """The last ``count`` lines, and how many bytes from the end hold them."""
        window = _FIRST_WINDOW
        while True:
            data = b"".join(self._plain({"origin": "end", "offset": str(window)}))
            if data.count(b"\n") > count or len(data) < window or window >= _LARGEST_WINDOW:
                lines = Lines()
                found = [*lines.feed(self._cut(data, window, count)), *lines.rest()]
                return tuple(found), window
            window *= 4

    @staticmethod
    def _cut(data: bytes, window: int, count: int) -> bytes:
        """The last ``count`` lines of ``data``; a first line that the window may have cut is left out."""
        pieces = deque(data.split(b"\n"))
        if len(data) >= window and len(pieces) > 1:
            pieces.popleft()
        last = pieces.pop()
        kept = list(pieces)[max(0, len(pieces) - count + (1 if last else 0)) :] if count else []
        return b"\n".join([*kept, last if count else b""])

    def _plain(self, origin: dict[str, str]) -> Iterator[bytes]:
        return self._chunks({"plain": "true", **origin})

    def _frames(self, origin: dict[str, str]) -> Iterator[bytes | None]:
        """The data of each frame; None for a heartbeat."""
        decoder = FrameDecoder()
        for chunk in self._chunks({"follow": "true", **origin}):
            try:
                yield from decoder.feed(chunk)
            except ValueError as error:
                raise lost_answer(self._transport.request(self._operation, write=False), str(error)) from None

    def _chunks(self, params: dict[str, str]) -> Iterator[bytes]:
        with self._transport.calling(self._operation, write=False, read_timeout=_SILENCE_SECONDS):
            response: requests.Response = self._endpoint.request(
                self._alloc_id, method="get", params=self._params | params, headers=dict(UNCOMPRESSED), stream=True
            )
        request = self._transport.request(self._operation, write=False)
        with response:
            yield from arriving(response, request, self._transport.connection, lambda: _SILENCE_SECONDS)


class Frame(Struct, frozen=True):
    """A piece of a followed log: the ``file`` it stands in, and its ``data`` (empty for a heartbeat)."""

    file: str
    data: bytes


class FrameDecoder:
    """Bytes as they come -> the data of whole frames."""

    def __init__(self) -> None:
        self._text = ""
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._json = json.JSONDecoder()

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """The data of the frames that ``chunk`` completes; None for a heartbeat. Raises ValueError for what is none."""
        for frame in self.frames(chunk):
            yield frame.data or None

    def frames(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that ``chunk`` completes, without those that only tell of files. Raises ValueError as ``feed``."""
        self._text += self._bytes.decode(chunk)
        while self._text.strip():
            text = self._text.lstrip()
            if not text.startswith("{"):
                raise ValueError("the log stream holds something else than frames")
            try:
                frame, end = self._json.raw_decode(text)
            except json.JSONDecodeError:
                if len(text) > _LONGEST_FRAME:
                    raise ValueError("the log stream holds a frame without end") from None
                return
            self._text = text[end:]
            data = frame.get("Data")
            if data or not frame.get("FileEvent"):
                yield Frame(frame.get("File") or "", base64.b64decode(data or "", validate=True))


class Lines:
    """Bytes as they come -> whole lines of text; what is no UTF-8 is replaced."""

    def __init__(self) -> None:
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that ``data`` completes; a line longer than 1 MiB comes in pieces."""
        *whole, self._open = (self._open + self._bytes.decode(data)).split("\n")
        yield from whole
        while len(self._open) >= _LONGEST_LINE:
            yield self._open[:_LONGEST_LINE]
            self._open = self._open[_LONGEST_LINE:]

    def rest(self) -> Iterator[str]:
        """The last line, when the output does not end with a line end."""
        last = self._open + self._bytes.decode(b"", final=True)
        self._open = ""
        if last:
            yield last
