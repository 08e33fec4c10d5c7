"""What a changing command says of itself: to others while it works, and in the audit trail once it has ended."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hms_nomad.apply.audit import Record
from hms_nomad.apply.interrupts import OutOfTimeError
from hms_nomad.apply.lock import LockLostError, this_process
from hms_nomad.apply.run_journal import Planned, Run, planned_of
from hms_nomad.clients.errors import ConflictError, DeadlineExceededError
from hms_nomad.rollout.release import Release
from hms_nomad.workflows.operating.audit import trail_of
from hms_nomad.workflows.origin import author
from hms_nomad.workflows.session import Session


class Intent(Struct, frozen=True):
    """What a command is about to do: its name, why, and the digest of what it wants ("" when it wants no spec).

    ``beside`` says that it may work next to another command, as those do that steer a rollout; without ``lock`` it does
    so from the start, and keeps no other command waiting. ``same_seconds`` is how long it waits for another command
    that wants just the same.
    """

    command: str
    message: str = ""
    who: str = ""
    aim: str = ""
    beside: bool = False
    lock: bool = True
    same_seconds: float = 0.0


class Opening(Struct, frozen=True):
    """What a command that is known to change a service keeps with its lock: what it means to change, as the event that
    announces it says, and the ``record`` of the deploy, the first of its service.
    """

    planned: Mapping[str, Any]
    record: Release


def run_of(session: Session, service: str, intent: Intent, opening: Opening | None) -> Run:
    """The record of a run that begins; what is opened with the lock needs the trail and the token before it."""
    planned: tuple[Planned, ...] = ()
    if opening is not None:
        planned = planned_of(opening.planned["planned"])
        trail = trail_of(session)
        if trail is not None:
            trail.check()
    return Run(
        id=uuid.uuid4().hex,
        service=service,
        namespace=session.platform.namespace,
        command=intent.command,
        who=intent.who or author().who,
        accessor=accessor(session) if opening is not None else "",
        process=this_process(),
        lock_id="",
        started=time.time(),
        digest=str(opening.planned["digest"]) if opening is not None else intent.aim,
        planned=planned,
        message=intent.message,
    )


def record_of(session: Session, run: Run, result: str) -> Record:
    """A run that has ended, for the audit trail."""
    return Record(
        time=time.time(),
        platform=session.platform.name,
        namespace=run.namespace,
        service=run.service,
        command=run.command,
        who=run.who,
        accessor=run.accessor,
        run=run.id,
        result=result,
        digest=run.digest,
        message=run.message,
        objects=tuple((one.kind, one.name, one.action, one.index) for one in run.planned),
        done=run.done,
    )


def accessor(session: Session) -> str:
    """The accessor of the Consul token that is used ("" without one)."""
    token = session.consul.own_token() if session.consul.has_token else None
    return token.accessor_id if token else ""


def result_of(outcome: object) -> str:
    """How a command ended, in the word of its outcome."""
    status = getattr(outcome, "status", None)
    if status is not None:
        return str(status)
    return "failed" if getattr(outcome, "failure", None) else "done"


def why(error: BaseException) -> str:
    """Why a run gave up, for whoever finds its record."""
    if isinstance(error, OutOfTimeError):
        return "ran out of time"
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted"
    return f"gave up ({' '.join(str(error).split())[:300]})"


def result_of_error(error: BaseException) -> str:
    """How a command ended that gave up, in a word."""
    if isinstance(error, OutOfTimeError | DeadlineExceededError):
        return "out-of-time"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "conflict" if isinstance(error, ConflictError | LockLostError) else "broken-off"
