"""Locks and unfinished runs -> lines and JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hms_nomad.apply.lock import LONGEST_DEAD_LOCK_SECONDS, Holder
from hms_nomad.apply.run_journal import Unfinished
from hms_nomad.output.printer import Printer, inert
from hms_nomad.output.table import table

_COLUMNS = ("SERVICE", "COMMAND", "BY", "SINCE", "STATE", "LOCK ID")


class Locked(Protocol):
    """What is printed of a lock: fields of ``hms_nomad.workflows.operating.lock.LockState``."""

    @property
    def holder(self) -> Holder: ...  # noqa: D102
    @property
    def alive(self) -> bool: ...  # noqa: D102


class Left(Protocol):
    """What is printed of something left behind: fields of ``hms_nomad.workflows.operating.orphans.Orphan``."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def remedy(self) -> str: ...  # noqa: D102


def lock_lines(printer: Printer, locks: Sequence[Locked]) -> Iterator[str]:
    """One line a lock."""
    if not locks:
        yield "Nothing is locked."
        return
    rows = [
        (
            lock.holder.service,
            lock.holder.command,
            lock.holder.who,
            _time(lock.holder.since),
            _state(lock),
            lock.holder.lock_id,
        )
        for lock in locks
    ]
    yield from table(printer, _COLUMNS, rows, {"works": ("cyan",)})


def lock_document(lock: Locked) -> dict[str, Any]:
    """A lock for machines."""
    holder = lock.holder
    return {
        "service": holder.service,
        "command": holder.command,
        "who": holder.who,
        "pid": holder.process.pid,
        "since": _time(holder.since),
        "alive": lock.alive,
        "id": holder.lock_id,
    }


def work_lines(lock: Locked | None, orphans: Sequence[Left]) -> Iterator[str]:
    """What ``status`` says of work under way on a service, and of what was left behind there."""
    if lock is not None:
        yield f"Locked      {inert(str(lock.holder))}: {_state(lock)}"
    for one in orphans:
        if one.kind == "run":
            yield f"Unfinished  {inert(one.what)}"
            yield f"            finish it with the same command again: {one.remedy}"
        elif one.kind != "lock":
            yield f"Left        {inert(one.what)}"
            yield f"            {one.remedy}"


def orphan_lines(orphans: Sequence[Left]) -> Iterator[str]:
    """What was left behind by all services."""
    for one in orphans:
        yield f"{one.service}: left behind: {inert(one.what)}; {one.remedy}"


def unfinished_document(one: Unfinished) -> dict[str, Any]:
    """An unfinished run for machines."""
    run = one.run
    return {
        "id": run.id,
        "command": run.command,
        "who": run.who,
        "started": _time(run.started),
        "phase": run.phase,
        "why": one.why,
        "digest": run.digest,
        "planned": run.planned,
        "done": run.done,
    }


def _state(lock: Locked) -> str:
    return "works" if lock.alive else f"died; ends by itself within {LONGEST_DEAD_LOCK_SECONDS} s"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
