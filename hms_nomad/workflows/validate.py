"""``validate``: paths -> every finding of every spec, without asking any server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hms_nomad.spec.diagnostics import Diagnostic, Level
from hms_nomad.workflows.specs import SpecFile, examine_paths

_WEIGHT = {Level.INFO: 0, Level.WARNING: 1, Level.ERROR: 2}


@dataclass(frozen=True, slots=True)
class NotRun:
    """Checks that could not run, by code, and what they would have needed."""

    codes: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        many = "check" if len(self.codes) == 1 else "checks"
        return f"{len(self.codes)} {many} not run: {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """What ``validate`` found: the files it read, the specs without errors, the findings in the order of the files.

    ``failed`` is True when a finding weighs at least as much as ``fail_on``; the command then ends with exit code 2.
    """

    files: tuple[str, ...]
    specs: tuple[SpecFile, ...]
    diagnostics: tuple[Diagnostic, ...]
    not_run: tuple[NotRun, ...]
    failed: bool

    def count(self, level: Level) -> int:
        """Number of findings of one level."""
        return sum(1 for finding in self.diagnostics if finding.level is level)


def validate(paths: Iterable[str], fail_on: Level = Level.ERROR) -> Report:
    """Check the specs of files and directories ("-": standard input) as far as that goes without a cluster.

    Never raises for what is wrong with a file: that is what the report is for.
    """
    examined, findings = examine_paths(paths)
    return Report(
        files=tuple(name for name, _ in examined),
        specs=tuple(SpecFile(name, one.spec, one.diagnostics) for name, one in examined if one.spec is not None),
        diagnostics=findings,
        not_run=(),
        failed=any(_WEIGHT[finding.level] >= _WEIGHT[fail_on] for finding in findings),
    )
