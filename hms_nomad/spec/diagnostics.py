"""What is wrong with a file, where, and what would be right: the only way in which the spec language reports."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """How much a finding weighs; only an error stops a command by itself."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Position(Struct, frozen=True):
    """A place in a file; line and column count from 1. Line 0 stands for the file as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Diagnostic(Struct, frozen=True):
    """One finding: a stable code (``HMS101``), its level, the place, the cause and the mend."""

    code: str
    level: Level
    position: Position
    message: str
    fix: str = ""

    @property
    def link(self) -> str:
        """Where the documentation explains this code, relative to the project's root."""
        return f"docs/diagnostics.md#{self.code.lower()}"

    def __str__(self) -> str:
        tail = f"; {self.fix}" if self.fix else ""
        return f"{self.position}: {self.level} [{self.code}] {self.message}{tail}"


class SpecError(Exception):
    """The file cannot be used; carries every finding, in the order of the file."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = diagnostics
