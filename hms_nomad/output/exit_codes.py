"""How every command ends: one table of exit codes, which the documentation repeats and a test compares."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can decide by."""

    OK = 0
    CHANGES = 1
    BAD_INPUT = 2
    CONFLICT = 3
    LOCKED = 4
    FAILED = 5
    UNAVAILABLE = 6
    UNKNOWN = 7
    DENIED = 8
    BUG = 70
    DEADLINE = 124
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, or nothing to do",
    ExitCode.CHANGES: "`plan` or `drift` found changes; `doctor` or `certs verify` found what does not work",
    ExitCode.BAD_INPUT: "bad input: a file, an option, a context, or something that does not exist",
    ExitCode.CONFLICT: "conflict: somebody else changed it, or owns it",
    ExitCode.LOCKED: "locked: another command works on it",
    ExitCode.FAILED: "the deployment failed and was taken back",
    ExitCode.UNAVAILABLE: "a server is unavailable; nothing was changed",
    ExitCode.UNKNOWN: "partly done, or unknown; run the same command again",
    ExitCode.DENIED: "denied: a right is missing, or a rule forbids it",
    ExitCode.BUG: "a bug in hms-nomad",
    ExitCode.DEADLINE: "the deadline passed",
    ExitCode.INTERRUPTED: "interrupted",
}
