"""Exception -> Fault: its exit code, a name for machines, and one clear line for people."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from msgspec import Struct

from hms_nomad.output.exit_codes import ExitCode

_PACKAGE = Path(__file__).parents[1]


class Fault(Struct, frozen=True):
    """Why a command ended: ``message`` for people, ``code`` and ``diagnostics`` for machines."""

    exit_code: ExitCode
    code: str
    message: str
    diagnostics: tuple[dict[str, Any], ...] = ()

    @property
    def line(self) -> str:
        """What stderr says: findings in files have their own form, all else is one line after "error:"."""
        return self.message if self.diagnostics or self.exit_code is ExitCode.INTERRUPTED else f"error: {self.message}"

    def as_document(self) -> dict[str, Any]:
        """The body of an ``error`` in JSON."""
        return {
            "code": self.code,
            "exit_code": int(self.exit_code),
            "message": self.message,
            "diagnostics": list(self.diagnostics),
        }


def classify(error: BaseException) -> Fault:
    """The fault that an exception stands for; one that nobody foresaw is a bug of ours (code 70)."""
    from hms_nomad.apply.interrupts import OutOfTimeError

    if isinstance(error, OutOfTimeError):
        return Fault(ExitCode.DEADLINE, "deadline", str(error))
    if isinstance(error, KeyboardInterrupt):
        return Fault(ExitCode.INTERRUPTED, "interrupted", str(error) or "interrupted")
    if diagnostics := getattr(error, "diagnostics", ()):
        from hms_nomad.spec.report_formats import diagnostics_to_json

        lines = "\n".join(str(found) for found in diagnostics)
        return Fault(ExitCode.BAD_INPUT, "bad-spec", lines, tuple(diagnostics_to_json(diagnostics)))
    if denials := getattr(error, "denials", ()):
        from hms_nomad.spec.report_formats import diagnostics_to_json

        lines = "\n".join(str(found) for found in denials)
        return Fault(ExitCode.DENIED, "denied-by-rule", lines, tuple(diagnostics_to_json(denials)))
    for kind, exit_code, code, mend in foreseen():
        if isinstance(error, kind):
            # One line whatever the server wrote: line breaks in its text would look like further messages.
            text = " ".join(str(error).split())
            return Fault(exit_code, code, f"{text}; {mend}" if mend else text)
    return _bug(error)


def foreseen() -> tuple[tuple[type[BaseException], ExitCode, str, str], ...]:
    """Exception, its exit code, its name for machines, and what would be right; the first that fits counts.

    Imported only when something went wrong: most commands end without that.
    """
    from hms_nomad.apply.audit import AuditError
    from hms_nomad.apply.checkpoint import CheckpointError
    from hms_nomad.apply.lock import LockedError, LockLostError, NoSuchLockError
    from hms_nomad.apply.run_journal import HalfDoneError
    from hms_nomad.build.errors import BuildError, KeyFileError, MissingImageError, NoEngineError, SigningError
    from hms_nomad.clients import errors as servers
    from hms_nomad.dev import errors as stack
    from hms_nomad.output.printer import OutputLostError
    from hms_nomad.plan.change import ForeignObjectError, OtherFleetError, OtherKindError
    from hms_nomad.plan.rules import RuleError
    from hms_nomad.plan.saved import SavedPlanError, StalePlanError
    from hms_nomad.platform.context import ContextError
    from hms_nomad.platform.jobspecs import SettingError, UnknownDataError
    from hms_nomad.platform.model import PlatformError
    from hms_nomad.rollout.begin import RejectedReleaseError, RolloutRunningError, UnrollableChangeError
    from hms_nomad.rollout.journal import JournalError
    from hms_nomad.rollout.records import NoSuchReleaseError

    again = "run the same command again: it looks at what is there first"
    return (
        (ContextError, ExitCode.BAD_INPUT, "bad-context", ""),
        (UnknownDataError, ExitCode.BAD_INPUT, "not-found", ""),
        (SettingError, ExitCode.BAD_INPUT, "bad-setting", ""),
        (PlatformError, ExitCode.BAD_INPUT, "unsuitable-platform", ""),
        (BuildError, ExitCode.FAILED, "build-failed", ""),
        (NoEngineError, ExitCode.UNAVAILABLE, "no-engine", ""),
        (KeyFileError, ExitCode.BAD_INPUT, "bad-key", ""),
        (SigningError, ExitCode.FAILED, "not-signed", ""),
        (MissingImageError, ExitCode.BAD_INPUT, "no-such-image", ""),
        (ForeignObjectError, ExitCode.CONFLICT, "foreign-object", ""),
        (OtherFleetError, ExitCode.CONFLICT, "other-fleet", ""),
        (OtherKindError, ExitCode.CONFLICT, "other-kind", ""),
        (RuleError, ExitCode.BAD_INPUT, "bad-rules", ""),
        (SavedPlanError, ExitCode.BAD_INPUT, "bad-plan", ""),
        (StalePlanError, ExitCode.CONFLICT, "stale-plan", ""),
        (LockedError, ExitCode.LOCKED, "locked", ""),
        (LockLostError, ExitCode.CONFLICT, "lock-lost", ""),
        (RolloutRunningError, ExitCode.LOCKED, "rollout-running", ""),
        (RejectedReleaseError, ExitCode.DENIED, "rejected-release", ""),
        (UnrollableChangeError, ExitCode.BAD_INPUT, "unrollable", ""),
        (CheckpointError, ExitCode.BAD_INPUT, "bad-checkpoint", ""),
        (AuditError, ExitCode.UNAVAILABLE, "audit", ""),
        (OutputLostError, ExitCode.UNKNOWN, "output-lost", ""),
        (NoSuchLockError, ExitCode.BAD_INPUT, "no-such-lock", ""),
        (NoSuchReleaseError, ExitCode.BAD_INPUT, "no-such-release", ""),
        (JournalError, ExitCode.CONFLICT, "foreign-journal", ""),
        (servers.ConflictError, ExitCode.CONFLICT, "conflict", again),
        (servers.InvalidRequestError, ExitCode.BAD_INPUT, "refused", ""),
        (servers.NotFoundError, ExitCode.BAD_INPUT, "not-found", ""),
        (servers.DeniedError, ExitCode.DENIED, "denied", ""),
        (servers.UnavailableError, ExitCode.UNAVAILABLE, "unavailable", "addresses: hms-nomad context show"),
        (servers.UnknownOutcomeError, ExitCode.UNKNOWN, "unknown", again),
        (HalfDoneError, ExitCode.UNKNOWN, "half-done", again),
        (servers.DeadlineExceededError, ExitCode.DEADLINE, "deadline", ""),
        (stack.StackLockedError, ExitCode.LOCKED, "locked", ""),
        (stack.SettingsError, ExitCode.BAD_INPUT, "unsuitable", ""),
        (stack.UnsuitableMachineError, ExitCode.BAD_INPUT, "unsuitable", ""),
        (stack.ServerFailedError, ExitCode.FAILED, "server-failed", ""),
        (stack.StackError, ExitCode.UNAVAILABLE, "unavailable", ""),
    )


def _bug(error: BaseException) -> Fault:
    text = " ".join(str(error).split())
    line = (
        f"internal: {type(error).__name__}: {text}{_place(error)}; "
        "this is a bug in hms-nomad: please report it with what the same command prints with --trace"
    )
    return Fault(ExitCode.BUG, "bug", line)


def _place(error: BaseException) -> str:
    """Where in our own code it happened."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE) and "/cli/" not in frame.filename
    ]
    return f" at {Path(own[-1].filename).relative_to(_PACKAGE.parent)}:{own[-1].lineno}" if own else ""
