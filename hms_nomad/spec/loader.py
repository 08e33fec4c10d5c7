"""Text of a ``.hms.yml`` or JSON file -> Spec, or every finding with its place.

Three passes: the text becomes data with positions, the data becomes a Spec, the Spec is checked for contradictions. A
pass that finds errors does not hide the findings of the next one: what is broken is cut out, the rest is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.sections.reading import Misfit, MisfitError, read
from hms_nomad.sections.shape import members
from hms_nomad.spec.checks import check_spec
from hms_nomad.spec.diagnostics import Diagnostic, Level, Position, SpecError
from hms_nomad.spec.document import MAX_FINDINGS, Document, Path, Problem, UnreadableError, one_line
from hms_nomad.spec.json_source import read_json
from hms_nomad.spec.model import Spec, Variable
from hms_nomad.spec.model_job import NEEDED
from hms_nomad.spec.overlay import resolve
from hms_nomad.spec.registry import Finding
from hms_nomad.spec.rules_reading import RULES
from hms_nomad.spec.selection import NOTHING, Selection
from hms_nomad.spec.source import readable
from hms_nomad.spec.sources import Sources, with_contents
from hms_nomad.spec.variables import Value
from hms_nomad.spec.wording import meant_by_another, worded
from hms_nomad.spec.yaml_source import read_yaml

_HINTED = 20
_LEVELS = {rule.code: rule.level for rule in RULES}
_STAND_INS: dict[str, Any] = {"name": "unknown", "version": "0", "port": 1}
_ALWAYS = ("name", "version")


class Examined(Struct, frozen=True):
    """A file after all passes: its spec where there is no error, and every finding in the order of the file.

    ``document`` is that of the chosen environment, ``values`` are those of the ``declared`` variables.
    """

    file: str
    document: Document
    spec: Spec | None
    diagnostics: tuple[Diagnostic, ...]
    environments: tuple[str, ...] = ()
    declared: Mapping[str, Variable] = msgspec.field(default_factory=dict)
    values: Mapping[str, Value] = msgspec.field(default_factory=dict)

    def diagnostic(self, finding: Finding) -> Diagnostic:
        """A finding about this file's spec with its place in the file."""
        mark = self.document.mark(finding.path, key=finding.at_key)
        place = Position(self.file, mark.line, mark.column)
        return Diagnostic(
            finding.rule.code, finding.rule.level, place, one_line(finding.message), one_line(finding.fix)
        )


def load_spec(
    text: bytes | str,
    file: str,
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
    sources: Sources | None = None,
) -> Spec:
    """The spec that a file holds; ``file`` is its name for messages (a ``.json`` name means JSON).

    ``environment`` chooses one of the file's environments, ``variables`` gives values (as typed) to its variables,
    ``sources`` reads the files that it names. Raises SpecError with every error, in the order of the file. Warnings
    are left to ``examine``.
    """
    examined = examine(text, file, Selection(environment, variables or {}), sources=sources)
    if examined.spec is None:
        raise SpecError(tuple(found for found in examined.diagnostics if found.level is Level.ERROR))
    return examined.spec


def examine(
    text: bytes | str,
    file: str,
    selection: Selection = NOTHING,
    *,
    every_environment: bool = False,
    sources: Sources | None = None,
) -> Examined:
    """Load a file and report errors, warnings and notes; never raises for the content of a file.

    With ``every_environment`` the findings of all environments are added to those of the file without any. Without
    ``sources`` the files that the spec names stay unread, and the spec cannot be compiled where it names any.
    """
    document = read_document(text, file)
    if not document.complete:
        return _concluded(Examined(file, document, None, ()), [_diagnostic(one, file) for one in document.problems])
    chosen, found = _examined(document, file, selection, sources)
    if every_environment and selection.environment is None:
        for name in chosen.environments:
            found += _examined(document, file, replace(selection, environment=name), sources)[1]
    return _concluded(chosen, found)


def _examined(
    document: Document, file: str, selection: Selection, sources: Sources | None
) -> tuple[Examined, list[Diagnostic]]:
    resolved = resolve(document, selection)
    spec, errors, broken = _validated(resolved.document)
    spec, unread = with_contents(spec, sources) if spec is not None and sources is not None else (spec, ())
    whole = Examined(file, resolved.document, spec, (), resolved.environments, resolved.declared, resolved.values)
    found = [_diagnostic(problem, file) for problem in [*resolved.document.problems, *errors]]
    found += [whole.diagnostic(finding) for finding in unread]
    found += [whole.diagnostic(finding) for finding in (check_spec(spec, broken) if spec is not None else ())]
    return whole, found


def _concluded(examined: Examined, found: list[Diagnostic]) -> Examined:
    """In the order of the file, each finding once; a file with an error has no spec."""
    ordered = sorted(dict.fromkeys(found), key=lambda one: (one.position.line, one.position.column, one.code))
    failed = any(one.level is Level.ERROR for one in ordered)
    return replace(examined, spec=None if failed else examined.spec, diagnostics=tuple(ordered[:MAX_FINDINGS]))


def read_document(text: bytes | str, file: str) -> Document:
    """The data of a file with positions; what cannot be read is listed in its ``problems``."""
    try:
        content = readable(text)
    except UnreadableError as error:
        return Document(problems=[error.problem], complete=False)
    if file.endswith(".json"):
        return read_json(content)
    if content.lstrip().startswith("{"):
        document = read_json(content)
        if document.complete:
            return document
    return read_yaml(content)


def _validated(document: Document) -> tuple[Spec | None, list[Problem], set[Path]]:
    """The spec, what is wrong with it, and the paths that were cut out or stood in for to get a spec all the same."""
    spec = None
    try:
        spec = read(Spec, document.data)
    except MisfitError as error:
        misfits = error.misfits[: 2 * MAX_FINDINGS]
    else:
        misfits = []
    misfits += _needed(document.data)
    if not misfits and not document.broken:
        return spec, [], set()
    unknown = [misfit for misfit in misfits if not _within(misfit.path, document.broken)]
    said = _said_once(unknown)
    problems = [worded(misfit, document, hints=number < _HINTED) for number, misfit in enumerate(said)]
    broken = {_unit(path) for path in document.broken} | {_unit(_cut(misfit)) for misfit in misfits}
    return _remainder(document.data, broken), problems, broken


def _said_once(misfits: list[Misfit]) -> list[Misfit]:
    """Without the fields that are missing because their key is misspelt: the key says it."""
    keys = [one.path for one in misfits if one.kind == "unknown"][:_HINTED]
    return [one for one in misfits if one.kind != "missing" or not any(meant_by_another(one.path, key) for key in keys)]


def _needed(data: Any) -> list[Misfit]:
    """What the kind of the spec needs and does not have."""
    shapes = members(Spec)
    return [Misfit((name,), "missing", shapes[name].shape) for name in _needed_by_kind(data) if name not in data]


def _needed_by_kind(data: Any) -> tuple[str, ...]:
    kind = data.get("kind", "service") if isinstance(data, dict) else None
    return NEEDED.get(kind, ()) if isinstance(kind, str) else ()


def _remainder(data: Any, broken: set[Path]) -> Spec | None:
    """A spec of what is not broken; what it needs besides is stood in for and counts as broken from now on."""
    if not isinstance(data, dict):
        return None
    rest = _without(data, broken)
    for name, value in _STAND_INS.items():
        if name not in rest and (name in _ALWAYS or name in _needed_by_kind(rest)):
            rest[name] = value
            broken.add((name,))
    try:
        return read(Spec, rest)
    except MisfitError:
        return None


def _cut(misfit: Misfit) -> Path:
    """The part of the data that a misfit makes useless: a section that misses a field goes as a whole."""
    path = misfit.path
    return path[:-1] if misfit.kind == "missing" and len(path) > 1 else path


def _unit(path: Path) -> Path:
    """Lists go as a whole, so that the places of their other entries still stand."""
    return next((path[:index] for index, step in enumerate(path) if isinstance(step, int)), path)


def _within(path: Path, broken: set[Path]) -> bool:
    return any(path[:length] in broken for length in range(len(path) + 1))


def _without(data: Any, broken: set[Path], path: Path = ()) -> Any:
    if not isinstance(data, dict):
        return data
    return {key: _without(value, broken, (*path, key)) for key, value in data.items() if (*path, key) not in broken}


def _diagnostic(problem: Problem, file: str) -> Diagnostic:
    return Diagnostic(
        problem.code,
        _LEVELS[problem.code],
        Position(file, problem.mark.line, problem.mark.column),
        one_line(problem.message),
        one_line(problem.fix),
    )
