"""The files of a directory -> the language they are of, and how such a service is started; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from hms_nomad.patterns import lazy_pattern

Read = Callable[[str], bytes]
"""Reads a file by its path; b"" where there is none."""

_PYTHON_ENTRIES = ("app.py", "main.py", "server.py", "__main__.py")
_NODE_ENTRIES = ("index.js", "server.js", "app.js", "main.js", "index.mjs", "server.mjs", "index.cjs")
_PYTHON_PROJECT = ("requirements.txt", "pyproject.toml", "setup.py", "uv.lock")
_JAVA_PROJECT = ("pom.xml", "build.gradle", "build.gradle.kts")
_ELF = b"\x7fELF"
_PORT = (
    lazy_pattern(rb"PORT\"?\]?'?\)?\s*(?:\|\||\?\?|,|or)\s*['\"]?(\d{2,5})"),
    lazy_pattern(rb"listen\(\s*['\"]?:?(\d{2,5})"),
    lazy_pattern(rb"--port[ =](\d{2,5})"),
)
_HEALTH = lazy_pattern(rb"['\"](/(?:health|healthz|ready|readyz|livez|ping|status)(?:/[a-z]+)?)['\"]")
_ROUTE = lazy_pattern(
    rb"\.(get|post|put|patch|delete)\(\s*['\"](/[^'\"]*)['\"]|@\w+\.(get|post|put|patch|delete)\(['\"](/[^'\"]*)['\"]"
)


class Found(Struct, frozen=True):
    """What sources look like: the language, the program and its arguments, and how it is known.

    ``entry`` is empty where nothing says how the service is started.
    """

    language: str
    entry: tuple[str, ...]
    because: str


class Hints(Struct, frozen=True):
    """What the program's text says of its port (0: nothing), a health route, and its routes with their methods."""

    port: int
    health: str
    routes: Mapping[str, tuple[str, ...]]
    program: str


def detect(files: tuple[str, ...], read: Read) -> Found | None:
    """The language of files by their paths; None when nothing tells. The clearest signs come first."""
    names = frozenset(files)
    for language in ("go", "java", "node", "python", "static"):
        if (found := _DETECTORS[language](names, read)) is not None:
            return found
    return None


def entry_of(language: str, files: tuple[str, ...], read: Read) -> Found:
    """How sources of a known language are started."""
    return _DETECTORS[language](frozenset(files), read) or Found(language, (), "the spec says so")


def hints(found: Found, files: tuple[str, ...], read: Read) -> Hints:
    """What can be guessed from the text of the program that is started."""
    program = next((word for word in reversed(found.entry) if word in files), "")
    if not program and found.language in ("go", "java"):
        program = next((name for name in files if name.endswith((".go", ".java"))), "")
    text = read(program) if program and found.language != "static" else b""
    port = next((int(match.group(1)) for one in _PORT if (match := one.search(text))), 0)
    health = _HEALTH.search(text)
    routes: dict[str, list[str]] = {}
    for match in _ROUTE.finditer(text):
        method, path = (part.decode() for part in match.groups() if part)
        if re.fullmatch(r"/[A-Za-z0-9._~/-]*", path):
            routes.setdefault(path, []).append(method.upper())
    return Hints(
        port if port <= 65535 else 0,
        health.group(1).decode() if health else "",
        {path: tuple(dict.fromkeys(methods)) for path, methods in routes.items()},
        program,
    )


def _go(names: frozenset[str], read: Read) -> Found | None:
    del read
    return Found("go", ("/app",), "go.mod") if "go.mod" in names else None


def _java(names: frozenset[str], read: Read) -> Found | None:
    del read
    if project := next((name for name in _JAVA_PROJECT if name in names), ""):
        return Found("java", ("java", "-jar", "/app/app.jar"), project)
    jars = sorted(name for name in names if name.endswith(".jar") and "/" not in name)
    if len(jars) == 1:
        return Found("java", ("java", "-jar", jars[0]), jars[0])
    mains = sorted(name for name in names if name.endswith(".java") and "/" not in name)
    if len(mains) == 1:
        return Found("java", ("java", mains[0]), mains[0])
    return None


def _node(names: frozenset[str], read: Read) -> Found | None:
    if "package.json" in names:
        try:
            body = json.loads(read("package.json"))
            main = str(body.get("main") or "")
        except (ValueError, AttributeError):
            main = ""
        started = [main.removeprefix("./"), *_NODE_ENTRIES]
        entry = next((name for name in started if name in names), "")
        return Found("node", ("node", entry) if entry else (), "package.json")
    entry = next((name for name in _NODE_ENTRIES if name in names), "")
    return Found("node", ("node", entry), entry) if entry else None


def _python(names: frozenset[str], read: Read) -> Found | None:
    del read
    project = next((name for name in _PYTHON_PROJECT if name in names), "")
    entry = next((name for name in _PYTHON_ENTRIES if name in names), "")
    if not entry:
        programs = sorted(name for name in names if name.endswith(".py") and "/" not in name)
        entry = programs[0] if len(programs) == 1 else ""
    if not project and not entry:
        return None
    return Found("python", ("python3", entry) if entry else (), project or entry)


def _static(names: frozenset[str], read: Read) -> Found | None:
    programs = sorted(name for name in names if read(name)[:4] == _ELF)
    return Found("static", (f"/{programs[0]}",), programs[0]) if len(programs) == 1 else None


_DETECTORS: Mapping[str, Callable[[frozenset[str], Read], Found | None]] = {
    "go": _go,
    "java": _java,
    "node": _node,
    "python": _python,
    "static": _static,
}
