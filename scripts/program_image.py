"""Build an image of this program out of this machine's own Python, for `rollouts.image`, so that no registry is needed.

    python scripts/program_image.py [hms-nomad:1.0]

The image holds the interpreter that runs this script, its standard library, this program, and the packages that it
depends on as they are installed here, those of `registry serve` included. Its command is /bin/hms-nomad.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from example_images import filesystem

ROOT = Path(__file__).resolve().parents[1]
_PROGRAM = "hms-nomad"
_EXTRA = ("starlette", "uvicorn")
_LIBRARY = "opt/hms-nomad"
_COMMAND = "#!/bin/python3\nfrom hms_nomad.__main__ import main\nmain()\n"
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def main(tag: str) -> int:
    """Build the image; exit code 0, or 1 when the engine refuses."""
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder) / "command"
        command.write_text(_COMMAND, encoding="utf-8")
        command.chmod(0o755)
        files = {command: "bin/hms-nomad", **_program(), **_packages()}
        archive = filesystem(files, [file for file in files if file.suffix == ".so"])
    options = ["--change", f"ENV PYTHONHOME=/ PYTHONPATH=/{_LIBRARY}", "--change", 'ENTRYPOINT ["/bin/hms-nomad"]']
    result = subprocess.run(["docker", "import", *options, "-", tag], input=archive, capture_output=True, check=False)
    print(result.stderr.decode().strip() or f"{tag} built", file=sys.stderr if result.returncode else sys.stdout)
    return 1 if result.returncode else 0


def _program() -> dict[Path, str]:
    """This checkout's program, with the data that its wheel has inside."""
    inside = {ROOT / "hms_nomad": "hms_nomad"} | {ROOT / name: f"hms_nomad/{name}" for name in ("jobspecs", "policies")}
    return {file: f"{_LIBRARY}/{name}" for file, name in inside.items()}


def _packages() -> dict[Path, str]:
    """Every installed package that the program needs, by the file."""
    found: dict[Path, str] = {}
    waiting, seen = [_PROGRAM, *_EXTRA], set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            # A requirement of another platform.
            continue
        if name != _PROGRAM:
            files = (file for file in package.files or () if file.parts[0] != ".." and file.suffix != ".pyc")
            found |= {Path(str(package.locate_file(file))): f"{_LIBRARY}/{file}" for file in files}
        needed = (text for text in package.requires or () if "extra ==" not in text)
        waiting += [match.group() for text in needed if (match := _NAME.match(text))]
    return {file: name for file, name in found.items() if file.is_file()}


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:2] or ["hms-nomad:local"])))
