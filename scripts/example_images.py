"""Build the container images of the examples out of this machine's own Python, so that no registry is needed.

    python scripts/example_images.py [receipt payment ...]

Each example's ``app.py``, with what it imports beside it, becomes the image that its ``*.hms.yml`` names. The image
holds the interpreter that runs this script, its standard library, the shared libraries they link to, and the program;
nothing else.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_ENTRYPOINT = 'ENTRYPOINT ["/bin/python3", "-u", "/app.py"]'
_LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "site-packages", "__pycache__", "lib2to3")


def main(names: list[str]) -> int:
    """Build the named examples, or all that have a program; exit code 0, or 1 when the engine refuses."""
    chosen = names or sorted(path.parent.name for path in EXAMPLES.glob("*/app.py"))
    for name in chosen:
        tag = image_of(EXAMPLES / name / f"{name}.hms.yml")
        replaced = _image_id(tag)
        result = subprocess.run(
            ["docker", "import", "--change", "ENV PYTHONHOME=/", "--change", _ENTRYPOINT, "-", tag],
            input=root_filesystem(*programs_of(name)),
            capture_output=True,
            check=False,
        )
        if result.returncode != 0:
            print(f"{tag}: {result.stderr.decode().strip()}", file=sys.stderr)
            return 1
        if replaced:
            # Refused, and rightly so, while a container still runs from it.
            subprocess.run(["docker", "rmi", replaced], capture_output=True, check=False)
        print(f"{tag} built")
    return 0


def image_of(spec: Path) -> str:
    """The image that a spec names."""
    found = re.search(r"^image: (\S+)", spec.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if found is None:
        raise SystemExit(f"{spec} names no image")
    return found.group(1)


def programs_of(name: str) -> list[Path]:
    """The files of an example in Python, ``app.py`` first."""
    return sorted((EXAMPLES / name).glob("*.py"), key=lambda path: (path.name != "app.py", path.name))


def root_filesystem(program: Path, *beside: Path) -> bytes:
    """A tar archive with the program as /app.py, what it imports ``beside`` it, and everything it needs to run."""
    return filesystem({program: "app.py", **{file: file.name for file in beside}})


def filesystem(files: Mapping[Path, str], loaded: Iterable[Path] = ()) -> bytes:
    """A tar archive with Python, with ``files`` at their paths in it, and with the libraries that ``loaded`` need."""
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    extensions = sorted((library / "lib-dynload").glob("*.so"))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(interpreter, "bin/python3")
        # The interpreter looks for its library beside itself.
        tar.add(library, f"lib/{library.name}", filter=_needed)
        for needed in sorted({path for binary in (interpreter, *extensions, *loaded) for path in linked(binary)}):
            tar.add(needed.resolve(), str(needed).lstrip("/"))
        for file, name in files.items():
            tar.add(file, name, filter=_needed)
        for folder in ("tmp", "etc", "proc", "dev", "sys"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    return archive.getvalue()


def _image_id(tag: str) -> str:
    found = subprocess.run(
        ["docker", "images", "--quiet", "--no-trunc", tag], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if any(part in _LEFT_OUT for part in Path(entry.name).parts) else entry


def linked(binary: Path) -> set[Path]:
    """The shared libraries that a binary loads, the loader itself included."""
    output = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
    return {Path(os.path.normpath(found)) for found in re.findall(r"(/\S+) \(0x", output)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
