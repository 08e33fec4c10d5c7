"""An examination -> lines: what is wrong, section by section, and one line when nothing is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hms_nomad.doctor.finding import Level, SectionResult
from hms_nomad.output.printer import Printer, inert

_COLORS = {Level.ERROR: "red", Level.WARNING: "yellow"}
_PAGE = "docs/doctor.md explains each code"
_SIGNS = {Level.ERROR: "✗", Level.WARNING: "!"}


def examination_lines(printer: Printer, sections: Sequence[SectionResult]) -> Iterator[str]:
    """Each finding with its cause and what would be right, then how much was looked at."""
    for section in sections:
        for one in section.findings:
            sign = printer.style(f"{_SIGNS[one.level]} {one.code}", _COLORS[one.level], "bold")
            yield f"{sign} {inert(one.subject)}: {inert(one.detail)}"
            yield f"    {inert(one.hint)}"
    found = [one for section in sections for one in section.findings]
    for section in sections:
        for why in section.not_run:
            yield printer.style(f"{section.section}: not looked at, {inert(why)}", "dim")
    checks = sum(section.checks for section in sections)
    errors = sum(one.level is Level.ERROR for one in found)
    if found:
        yield f"{checks} checks: {_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}; {_PAGE}"
    else:
        yield f"{printer.style('✓', 'green')} {checks} checks, nothing is wrong"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
