"""A task's output -> the numbered files that Nomad's API shows of it.

The program writes into one file and never waits for anybody, so it loses nothing when the agent is away. Rotation is
only shown: byte ranges of the one file count as files 0, 1, 2 and so on, and the space of those that are too old is
given back to the file system by punching holes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_MIB = 1024 * 1024
_CHUNK = 64 * 1024
_LONGEST_LINE = 64 * 1024
# FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (man 2 fallocate)
_PUNCH = 3
_LIBC = ctypes.CDLL(None, use_errno=True)


class Piece(Struct, frozen=True):
    """Some bytes of an output: the file that they count as, their place in it, and the place behind them in all."""

    number: int
    offset: int
    data: bytes
    end: int


class LogFile(Struct, frozen=True):
    """One output. ``size`` is when the next file begins, in bytes; ``keep`` how many files are shown."""

    path: Path
    size: int
    keep: int

    @classmethod
    def of(cls, logs: Path, task: str, kind: str, config: dict[str, int]) -> LogFile:
        """The output ``kind`` (stdout or stderr) of a task."""
        return cls(output(logs, task, kind), int(config["MaxFileSizeMB"]) * _MIB, max(1, int(config["MaxFiles"])))

    def end(self) -> int:
        """How much was ever written."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self) -> int:
        """Where that begins which is still shown."""
        number = self._newest() - self.keep + 1
        return self._boundary(number) or 0 if number > 0 else 0

    def read(self, position: int) -> Iterator[Piece]:
        """What was written from ``position`` on, in pieces that each lie in one file."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            position = max(position, self.begin())
            number = self._number_at(position)
            stream.seek(position)
            while data := stream.read(_CHUNK):
                border = self._boundary(number + 1)
                if border is not None and position + len(data) > border:
                    data = data[: border - position]
                    stream.seek(position + len(data))
                if data:
                    start = self._boundary(number) or 0
                    yield Piece(number, position - start, data, position + len(data))
                    position += len(data)
                if border is not None and position >= border:
                    number += 1

    def trim(self) -> None:
        """Give back the space of what is not shown any more."""
        number = self._newest() - self.keep + 1
        if number <= 0:
            return
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                length = ctypes.c_longlong(number * self.size)
                _LIBC.fallocate(descriptor, _PUNCH, ctypes.c_longlong(0), length)
            finally:
                os.close(descriptor)

    def _newest(self) -> int:
        number = self.end() // self.size
        return number if number == 0 or self._boundary(number) is not None else number - 1

    def _number_at(self, position: int) -> int:
        number = position // self.size
        border = self._boundary(number)
        return number if border is not None and border <= position else max(0, number - 1)

    def _boundary(self, number: int) -> int | None:
        """Where a file begins: behind the first line end after its share; None where that is not written yet."""
        if number <= 0:
            return 0
        start = number * self.size
        if self.end() <= start:
            return None
        with self.path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(_LONGEST_LINE)
        found = data.find(b"\n")
        if found >= 0:
            return start + found + 1
        return start + _LONGEST_LINE if len(data) == _LONGEST_LINE else None


def output(logs: Path, task: str, kind: str) -> Path:
    """The file that a task writes into."""
    return logs / f"{task}.{kind}.0"
