"""Where a feed of events stands, kept in a file: what was delivered from each source, and what is on its way.

The file is written twice for each batch: before the batch is sent, with the batch in it, and after it was taken. So
whoever goes on after a break sends the batch again that may or may not have arrived, word for word, and says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

CHECKPOINT_SCHEMA = 1


class CheckpointError(Exception):
    """The checkpoint cannot be read, written or used; the text says why and what would be right."""


class _Content(Struct):
    origin: str
    schema: int = CHECKPOINT_SCHEMA
    sequence: int = 0
    positions: dict[str, Any] = msgspec.field(default_factory=dict)
    pending: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Checkpoint:
    """A checkpoint that this process alone uses. All calls raise CheckpointError."""

    def __init__(self, file: Path | None, content: _Content) -> None:
        self._file = file
        self._content = content

    @property
    def positions(self) -> Mapping[str, Any]:
        """How far each source is, by the source's name."""
        return self._content.positions

    @property
    def pending(self) -> tuple[dict[str, Any], ...]:
        """The events that were sent and never known to have arrived."""
        return tuple(self._content.pending)

    @property
    def numbered(self) -> bool:
        """Whether events get numbers, which they do where these go on after a break."""
        return self._file is not None

    def prepare(self, positions: Mapping[str, Any], events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Note what is about to be sent, and where its sources then are (None: forget the source).

        Answers the events as they have to be sent, each with the next number of the feed in ``sequence``.
        """
        content = self._content
        if self.numbered:
            events = [
                {**event, "sequence": f"{content.sequence + number:012d}"} for number, event in enumerate(events, 1)
            ]
            content.sequence += len(events)
        for key, position in positions.items():
            if position is None:
                content.positions.pop(key, None)
            else:
                content.positions[key] = position
        content.pending = list(events)
        self._save()
        return content.pending

    def settle(self) -> None:
        """Note that what was sent has arrived."""
        if self._content.pending:
            self._content.pending = []
            self._save()

    def _save(self) -> None:
        if self._file is None:
            return
        new = self._file.with_name(f"{self._file.name}.new")
        try:
            with new.open("w", encoding="utf-8") as stream:
                json.dump(msgspec.to_builtins(self._content), stream, separators=(",", ":"))
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self._file)
        except OSError as error:
            raise CheckpointError(f"the checkpoint {self._file} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def open_checkpoint(file: Path | None, origin: str) -> Iterator[Checkpoint]:
    """The checkpoint in ``file``, made when it is not there; without a file, one that ends with the process.

    ``origin`` names what it is a checkpoint of, and must be what it was made with. Raises CheckpointError, also when
    another process uses it.
    """
    if file is None:
        yield Checkpoint(None, _Content(origin))
        return
    try:
        lock = file.with_name(f"{file.name}.lock").open("w", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"the checkpoint {file} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"another process uses the checkpoint {file}; give each feed its own") from None
        yield Checkpoint(file, _load(file, origin))


def _load(file: Path, origin: str) -> _Content:
    try:
        content = msgspec.json.decode(file.read_bytes(), type=_Content)
    except FileNotFoundError:
        return _Content(origin)
    except OSError as error:
        raise CheckpointError(f"the checkpoint {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CheckpointError(f"{file} is no checkpoint that this version can read; name another file") from None
    if content.schema != CHECKPOINT_SCHEMA or content.origin != origin:
        raise CheckpointError(f"{file} is the checkpoint of {content.origin}, not of {origin}; name another file")
    return content
