"""Telling files of an image -> the packages that it holds: Debian's, Alpine's, Python's, Node's, Java's and Go's; pure.

Each package is named by its purl: https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

import email.parser
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from hms_nomad.build.contents import Contents
from hms_nomad.build.go_modules import modules_of
from hms_nomad.patterns import lazy_pattern

_NESTED_JARS = 3
"""How deep archives in archives are looked into."""

_RUNTIMES = ("python", "node", "golang", "java")

_JAR_NAME = lazy_pattern(r"(?P<name>.+?)-(?P<version>\d[^/]*)\.[jw]ar")


class Package(Struct, frozen=True, order=True):
    """A package. ``kind`` is the purl's type (deb, apk, pypi, npm, maven, golang), ``group`` its namespace.

    ``license`` is what the package itself says, "" where it says nothing.
    """

    kind: str
    group: str
    name: str
    version: str
    license: str = ""
    distribution: str = ""


def packages_in(contents: Contents) -> tuple[Package, ...]:
    """The packages of an image, sorted, each once."""
    found: set[Package] = set()
    system = _os_release(contents.files)
    for path, data in contents.files.items():
        found.update(_packages(path, data, system))
    for text in contents.programs.values():
        for module in modules_of(text):
            group, _, name = module.path.rpartition("/")
            found.add(Package("golang", group, name, module.version))
    return tuple(sorted(found))


def runtimes_in(environment: Iterable[str]) -> tuple[Package, ...]:
    """The runtimes that an image names in its variables, as the official images do for what no package brought."""
    rows = dict(one.split("=", 1) for one in environment if "=" in one)
    found = ((name, rows.get(f"{name.upper()}_VERSION", "")) for name in _RUNTIMES)
    return tuple(Package("generic", "", name, version.removeprefix("jdk-")) for name, version in found if version)


def _packages(path: str, data: bytes, system: Mapping[str, str]) -> Iterable[Package]:
    if path.startswith("var/lib/dpkg/"):
        return _debian(data, system)
    if path.endswith("lib/apk/db/installed"):
        return _alpine(data, system)
    if path.endswith(("/METADATA", "/PKG-INFO")):
        return _python(data)
    if path.endswith("/package.json"):
        return _node(data)
    if path.endswith((".jar", ".war")):
        return _java(path, data, _NESTED_JARS)
    return ()


def _os_release(files: Mapping[str, bytes]) -> dict[str, str]:
    text = (files.get("etc/os-release") or files.get("usr/lib/os-release") or b"").decode("utf-8", "replace")
    rows = (line.partition("=") for line in text.splitlines())
    return {key: value.strip().strip("\"'") for key, _, value in rows if value}


def _distribution(system: Mapping[str, str]) -> str:
    return "-".join(filter(None, (system.get("ID", ""), system.get("VERSION_ID", ""))))


def _debian(data: bytes, system: Mapping[str, str]) -> Iterator[Package]:
    for block in data.decode("utf-8", "replace").split("\n\n"):
        rows = _rows(block, ": ")
        # One that was removed leaves its configuration's record behind.
        if rows.get("Package") and rows.get("Version") and rows.get("Status", "ok installed").endswith(" installed"):
            group = system.get("ID", "debian")
            yield Package("deb", group, rows["Package"], rows["Version"], distribution=_distribution(system))


def _alpine(data: bytes, system: Mapping[str, str]) -> Iterator[Package]:
    for block in data.decode("utf-8", "replace").split("\n\n"):
        rows = _rows(block, ":")
        if rows.get("P") and rows.get("V"):
            group = system.get("ID", "alpine")
            yield Package("apk", group, rows["P"], rows["V"], rows.get("L", ""), _distribution(system))


def _rows(block: str, mark: str) -> dict[str, str]:
    rows = (line.partition(mark) for line in block.splitlines() if not line.startswith(" "))
    return {key: value.strip() for key, found, value in rows if found}


def _python(data: bytes) -> Iterator[Package]:
    head = email.parser.BytesHeaderParser().parsebytes(data)
    name, version = head.get("Name"), head.get("Version")
    if name and version:
        said = str(head.get("License-Expression") or "")
        yield Package("pypi", "", re.sub(r"[-_.]+", "-", str(name)).lower(), str(version), said)


def _node(data: bytes) -> Iterator[Package]:
    try:
        body = json.loads(data)
        name, version = body.get("name"), body.get("version")
        said = body.get("license")
    except (ValueError, AttributeError):
        return
    if isinstance(name, str) and isinstance(version, str):
        group, _, plain = name.rpartition("/")
        yield Package("npm", group, plain, version, said if isinstance(said, str) else "")


def _java(path: str, data: bytes, depth: int) -> Iterator[Package]:
    """What Maven wrote into an archive; else its name. Archives in it are looked into, too."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            told = [name for name in names if re.fullmatch(r"META-INF/maven/.+/pom\.properties", name)]
            for name in told:
                rows = _rows(archive.read(name).decode("utf-8", "replace"), "=")
                if rows.get("artifactId") and rows.get("version"):
                    yield Package("maven", rows.get("groupId", ""), rows["artifactId"], rows["version"])
            for name in names if depth else ():
                if name.endswith((".jar", ".war")):
                    yield from _java(name, archive.read(name), depth - 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):
        return
    if not told and (match := _JAR_NAME.fullmatch(path.rpartition("/")[2])):
        yield Package("maven", "", match["name"], match["version"])
