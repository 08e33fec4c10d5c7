"""Build base images out of this machine's own programs, where nothing can be pulled.

    python scripts/base_images.py [python node java go]

They are named hms-base/LANGUAGE:local in the container engine. Each holds the interpreter (go: the tool chain), what it
links to, and nothing else. A context uses them with images: {bases: {python: "hms-base/python:local"}}.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from example_images import linked, root_filesystem

_FOLDERS = ("tmp", "etc", "proc", "dev", "sys")


def main(names: list[str]) -> int:
    """Build the named bases, or those whose program is on PATH; exit code 0, or 1 when the engine refuses."""
    for name in names or [one for one in _MAKERS if shutil.which(_PROGRAMS[one])]:
        archive, changes = _MAKERS[name]()
        words = [word for change in changes for word in ("--change", change)]
        done = subprocess.run(
            ["docker", "import", *words, "-", f"hms-base/{name}:local"], input=archive, capture_output=True, check=False
        )
        if done.returncode != 0:
            print(f"{name}: {done.stderr.decode().strip()}", file=sys.stderr)
            return 1
        print(f"hms-base/{name}:local built")
    return 0


def _python() -> tuple[bytes, list[str]]:
    with tempfile.NamedTemporaryFile() as nothing:
        return root_filesystem(Path(nothing.name)), ["ENV PYTHONHOME=/", "ENV PATH=/bin"]


def _node() -> tuple[bytes, list[str]]:
    program = Path(shutil.which("node") or "").resolve()
    return _tar({"bin/node": program}, linked(program)), ["ENV PATH=/bin"]


def _java() -> tuple[bytes, list[str]]:
    program = Path(shutil.which("java") or "").resolve()
    home = program.parent.parent
    libraries = {one for file in (program, *home.rglob("*.so")) for one in linked(file)}
    outside = {one for one in libraries if not one.is_relative_to(home)}
    # Its settings are links to files elsewhere on some systems.
    targets = {link.resolve() for link in home.rglob("*") if link.is_symlink()}
    settings = {str(file).lstrip("/"): file for file in targets if file.exists() and not file.is_relative_to(home)}
    place = str(home).lstrip("/")
    return _tar({place: home, **settings}, outside), [f"ENV PATH=/{place}/bin", f"ENV JAVA_HOME=/{place}"]


def _go() -> tuple[bytes, list[str]]:
    root = Path(subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip())
    tree = {f"usr/local/go/{part}": root / part for part in ("bin", "src", "pkg", "go.env", "VERSION")}
    changes = ["ENV PATH=/usr/local/go/bin", "ENV GOTOOLCHAIN=local GOCACHE=/tmp/go-build GOFLAGS=-mod=mod"]
    return _tar({name: path for name, path in tree.items() if path.exists()}, set()), changes


_MAKERS = {"python": _python, "node": _node, "java": _java, "go": _go}
_PROGRAMS = {"python": "python3", "node": "node", "java": "java", "go": "go"}


def _tar(tree: dict[str, Path], libraries: set[Path]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for name, path in tree.items():
            tar.add(path, name, filter=_needed)
        for library in sorted(libraries):
            tar.add(os.path.realpath(library), str(library).lstrip("/"))
    return archive.getvalue()


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "testdata" in Path(entry.name).parts or entry.name.endswith((".src.zip", "src.zip")) else entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
