"""``validate``: paths -> every finding of every spec, without asking a server unless its facts are handed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from hms_nomad.spec.diagnostics import Diagnostic, Level
from hms_nomad.spec.facts import UNKNOWN, Facts
from hms_nomad.spec.fleet import CYCLE, cycles
from hms_nomad.spec.loader import Examined
from hms_nomad.spec.registry import Finding
from hms_nomad.spec.rules_cluster import check_against, not_checked
from hms_nomad.spec.selection import Selection
from hms_nomad.workflows.specs import SpecFile, examine_paths, specs_of

_WEIGHT = {Level.INFO: 0, Level.WARNING: 1, Level.ERROR: 2}


class NotRun(Struct, frozen=True):
    """Checks that could not run, by code, and what they would have needed."""

    codes: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        many = "check" if len(self.codes) == 1 else "checks"
        return f"{len(self.codes)} {many} not run: {self.reason}"


class Report(Struct, frozen=True):
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


def validate(
    paths: Iterable[str],
    fail_on: Level = Level.ERROR,
    facts: Facts = UNKNOWN,
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Report:
    """Check the specs of files and directories ("-": standard input), alone, together and against ``facts``.

    Never raises for what is wrong with a file: that is what the report is for. Checks for which ``facts`` do not
    suffice are listed as not run. Without ``environment`` the files are checked as they stand and in each of their
    environments; ``variables`` gives values, as typed.
    """
    examined, findings = examine_paths(paths, Selection(environment, variables or {}), every_environment=True)
    findings += tuple(_of_all(examined, facts))
    order = {name: number for number, (name, _) in enumerate(examined)}
    findings = tuple(sorted(findings, key=lambda one: _place(one, order)))
    return Report(
        files=tuple(name for name, _ in examined),
        specs=specs_of(examined),
        diagnostics=findings,
        not_run=tuple(NotRun(codes, missing) for missing, codes in not_checked(facts).items()),
        failed=any(_WEIGHT[finding.level] >= _WEIGHT[fail_on] for finding in findings),
    )


def _of_all(examined: Iterable[tuple[str, Examined]], facts: Facts) -> Iterator[Diagnostic]:
    """Findings that take more than one file: the cluster's, and circles among the specs."""
    by_name = {one.spec.name: one for _, one in examined if one.spec is not None}
    specs = [one.spec for one in by_name.values() if one.spec is not None]
    for spec in specs:
        for finding in check_against(spec, facts, frozenset(by_name)):
            yield by_name[spec.name].diagnostic(finding)
    for circle in cycles(specs):
        first = by_name[circle[0]]
        message = f"{', '.join(circle)} use each other in a circle"
        yield first.diagnostic(Finding(CYCLE, ("uses",), message, CYCLE.fix))


def _place(one: Diagnostic, order: dict[str, int]) -> tuple[int, int, int, str]:
    return order.get(one.position.file, -1), one.position.line, one.position.column, one.code
