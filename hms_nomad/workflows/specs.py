"""Paths from the command line -> specs: files, directories and standard input, read with a limit on their size."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from hms_nomad.spec.diagnostics import Diagnostic, Level, Position, SpecError
from hms_nomad.spec.document import MAX_BYTES, Document, quoted
from hms_nomad.spec.loader import Examined, examine
from hms_nomad.spec.model import Spec
from hms_nomad.spec.origins import Origin, origins
from hms_nomad.spec.selection import NOTHING, Selection
from hms_nomad.workflows.sources import sources_of

STDIN = "-"
"""The path that stands for standard input; messages call it ``<stdin>``."""

SUFFIXES = (".hms.yml", ".hms.yaml", ".hms.json")
"""Names that make a file of a directory a spec."""


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec with the file that it stands in, and what is worth saying about it (warnings and notes).

    ``document`` knows the places of its values.
    """

    file: str
    spec: Spec
    diagnostics: tuple[Diagnostic, ...] = ()
    document: Document | None = field(default=None, repr=False, compare=False)


def read_spec(path: str, environment: str | None = None, variables: Mapping[str, str] | None = None) -> Spec:
    """The spec of one file ("-": standard input). Raises SpecError with every error of the file.

    ``environment`` chooses one of its environments, ``variables`` gives values, as typed, to its variables.
    """
    if _is_directory(path):
        raise SpecError((_finding("HMS001", path, "this is a directory", "name one file in it"),))
    return read_specs([path], environment, variables)[0].spec


def read_specs(
    paths: Iterable[str], environment: str | None = None, variables: Mapping[str, str] | None = None
) -> tuple[SpecFile, ...]:
    """The specs of files and of directories (every ``*.hms.yml|yaml|json`` below, sorted), in the order of the paths.

    Where several files are read, an environment or a variable need not be declared by all of them, but by one. Raises
    SpecError with every error of every file; a service that two files declare is one of them.
    """
    examined, findings = examine_paths(paths, Selection(environment, variables or {}))
    errors = tuple(finding for finding in findings if finding.level is Level.ERROR)
    if errors:
        raise SpecError(errors)
    return specs_of(examined)


def specs_of(examined: Iterable[tuple[str, Examined]]) -> tuple[SpecFile, ...]:
    """The specs of examined files that have no error."""
    return tuple(
        SpecFile(name, one.spec, one.diagnostics, one.document) for name, one in examined if one.spec is not None
    )


def read_origins(
    path: str, environment: str | None = None, variables: Mapping[str, str] | None = None
) -> tuple[Origin, ...]:
    """Where each value of one file's spec comes from. Raises SpecError like ``read_spec``."""
    examined, findings = examine_paths([path], Selection(environment, variables or {}))
    if errors := tuple(finding for finding in findings if finding.level is Level.ERROR):
        raise SpecError(errors)
    return tuple(origin for _, one in examined for origin in origins(one))


def examine_paths(
    paths: Iterable[str], selection: Selection = NOTHING, *, every_environment: bool = False
) -> tuple[tuple[tuple[str, Examined], ...], tuple[Diagnostic, ...]]:
    """Every file by name with what its examination gave, and all findings, those about missing files included."""
    contents: dict[str, bytes | Diagnostic] = {}
    paths_of: dict[str, str] = {}
    for path in paths:
        for name, finding in _files(path):
            if _label(name) not in contents:
                contents[_label(name)] = finding or _read(name, _label(name))
                paths_of[_label(name)] = name
    several = replace(selection, lenient=len(contents) > 1)
    examined: dict[str, Examined] = {}
    findings: list[Diagnostic] = []
    for label, content in contents.items():
        if isinstance(content, Diagnostic):
            findings.append(content)
        else:
            sources = sources_of(paths_of[label])
            examined[label] = examine(content, label, several, every_environment=every_environment, sources=sources)
            findings += examined[label].diagnostics
    findings += _declared_twice(examined)
    findings += _declared_nowhere(examined, several) if several.lenient else ()
    return tuple(examined.items()), tuple(findings)


def _files(path: str) -> Iterator[tuple[str, Diagnostic | None]]:
    if path == STDIN or not _is_directory(path):
        yield path, None
        return
    names = sorted(
        str(Path(folder, name))
        for folder, folders, files in _walk(path)
        for name in files
        if name.endswith(SUFFIXES) and not name.startswith(".")
    )
    if not names:
        wanted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        yield path, _finding("HMS001", path, "no spec is in this directory", f"a spec is named {wanted}")
    yield from ((name, None) for name in names)


def _walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield folder, folders, files


def _read(path: str, label: str) -> bytes | Diagnostic:
    """The content of a file, one byte more than is allowed at most: the loader refuses what is too long."""
    try:
        if path == STDIN:
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(path).open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
                return _finding("HMS001", label, "this is no file", "name a spec or a directory of specs")
            if status.st_size > MAX_BYTES:
                return _finding(
                    "HMS003",
                    label,
                    f"the file has {status.st_size} bytes; at most {MAX_BYTES} are read",
                    "a spec is a short file: is this the right one?",
                )
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return _finding("HMS001", label, "there is no such file", "check the path; hms-nomad init writes a first spec")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _finding("HMS001", label, f"the file cannot be read: {reason}", "check the path and its permissions")


def _label(path: str) -> str:
    """The name of a file in messages, always on one line."""
    if path == STDIN:
        return "<stdin>"
    return path if path.isprintable() else repr(path)[1:-1]


def _is_directory(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _declared_twice(examined: dict[str, Examined]) -> Iterator[Diagnostic]:
    first: dict[str, str] = {}
    for file, one in examined.items():
        if one.spec is None:
            continue
        earlier = first.setdefault(one.spec.name, file)
        if earlier != file:
            yield _finding("HMS014", file, f"the service {one.spec.name} is declared in {earlier} too", "rename one")


def _declared_nowhere(examined: dict[str, Examined], selection: Selection) -> Iterator[Diagnostic]:
    """A name that none of several files knows is a slip."""
    whole = next(iter(examined), "")
    name = selection.environment
    if name is not None and not any(name in one.environments for one in examined.values()):
        yield _finding("HMS110", whole, f"no file has the environment {quoted(name)}", "mend the name, or declare it")
    for variable in selection.variables:
        if not any(variable in one.declared for one in examined.values()):
            yield _finding(
                "HMS111", whole, f"no file declares the variable {quoted(variable)}", "mend the name, or declare it"
            )


def _finding(code: str, file: str, message: str, fix: str) -> Diagnostic:
    return Diagnostic(code, Level.ERROR, Position(_label(file), 0, 0), message, fix)
