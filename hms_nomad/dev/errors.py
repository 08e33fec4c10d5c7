"""What keeps a stack from coming up, in one line each: the cause, and what would be right."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; ``what`` is the cause and ``fix`` what would be right."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what}; {fix}" if fix else what)
        self.what = what
        self.fix = fix


class SettingsError(StackError):
    """A setting of the stack cannot be used; nothing was done."""


class UnsuitableMachineError(StackError):
    """The machine lacks something that cannot be fetched: rights, Linux, a tool, a free port; nothing was started."""


class MissingBinaryError(StackError):
    """Programs are nowhere; ``binary`` is the name of the one, or their names with commas between."""

    def __init__(self, binary: str, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.binary = binary


class ReleaseError(StackError):
    """A maker's release could not be had, or was refused because it is not what the maker signed."""


class StackLockedError(StackError):
    """Another command works on the same stack; ``pid`` is its process (0 when it does not say)."""

    def __init__(self, what: str, fix: str, pid: int) -> None:
        super().__init__(what, fix)
        self.pid = pid


class ServerFailedError(StackError):
    """A server ended or did not get ready; ``log_file`` has its words, the last of them are part of the text."""

    def __init__(self, what: str, fix: str, log_file: str) -> None:
        super().__init__(what, fix)
        self.log_file = log_file
