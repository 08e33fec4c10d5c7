"""Deploy rules: names of rule files + specs -> what may not be deployed, and where the rule stands that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from msgspec import Struct

from hms_nomad.compile import compile_spec
from hms_nomad.plan.rules import (
    DeployDeniedError,
    DeployException,
    RuleError,
    RuleSet,
    Violation,
    joined,
    judge,
    read_rules,
)
from hms_nomad.platform.jobspecs import deploy_rules_folder
from hms_nomad.platform.model import Platform
from hms_nomad.spec.diagnostics import Diagnostic, Position
from hms_nomad.spec.document import Document
from hms_nomad.spec.rules_deploy import DENIED_BY_RULE
from hms_nomad.workflows.specs import SpecFile

_SUFFIXES = (".yml", ".yaml")


class Judgement(Struct, frozen=True):
    """What rules say of specs; ``exceptions`` are those without which there would be more ``denials``."""

    denials: tuple[Diagnostic, ...]
    exceptions: tuple[DeployException, ...]


def load_rules(names: Iterable[str]) -> RuleSet:
    """The rules of files, of directories of them, and of files that ship with the program (a name without a path).

    Raises RuleError for one that is missing or wrong: a deploy never goes on without the rules it should follow.
    """
    return joined(read_rules(_text(file), label) for name in names for file, label in _files(name))


def judge_specs(files: Sequence[SpecFile], platform: Platform, rules: RuleSet) -> Judgement:
    """Hold specs to rules, without asking a server. Raises PlatformError for a spec that the platform cannot run."""
    denials: list[Diagnostic] = []
    exceptions: list[DeployException] = []
    for file in files if rules.rules else ():
        broken, used = judge(file.spec, compile_spec(file.spec, platform), platform, rules, today())
        denials += [diagnostic_of(one, file.file, file.document) for one in broken]
        exceptions += used
    return Judgement(tuple(denials), tuple(exceptions))


def refuse_denied(files: Sequence[SpecFile], platform: Platform) -> tuple[DeployException, ...]:
    """Raise DeployDeniedError for specs that the platform's rules forbid; answers the exceptions that they needed."""
    found = judge_specs(files, platform, load_rules(platform.rules))
    if found.denials:
        raise DeployDeniedError(found.denials)
    return found.exceptions


def today() -> date:
    """The day by which exceptions end."""
    return datetime.now(UTC).date()


def diagnostic_of(one: Violation, file: str, document: Document | None) -> Diagnostic:
    """A violation with its place in the spec."""
    mark = document.mark(one.path) if document else None
    place = Position(file, mark.line, mark.column) if mark else Position(file, 0, 0)
    message = f"{one.rule} forbids it: {one.cause}"
    return Diagnostic(DENIED_BY_RULE.code, DENIED_BY_RULE.level, place, message, one.fix)


def _files(name: str) -> list[tuple[Path, str]]:
    """The files behind a name, and how messages call them; one without a slash and an ending ships with the program."""
    shipped = deploy_rules_folder() / f"{name}.yml"
    if "/" not in name and not name.endswith(_SUFFIXES):
        if shipped.is_file():
            return [(shipped, f"policies/deploy/{shipped.name}")]
        known = ", ".join(sorted(path.stem for path in shipped.parent.glob("*.yml")))
        raise RuleError(
            f"no deploy rules {name!r} ship with hms-nomad; there are: {known}; a file is named with its path"
        )
    path = Path(name).expanduser()
    if not path.is_dir():
        return [(path, name)]
    found = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and not one.name.startswith("."))
    if not found:
        raise RuleError(f"{name}: no rule file is in this directory; one is named *.yml")
    return [(one, str(one)) for one in found]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RuleError(f"{file}: the rules cannot be read: {reason}") from None
