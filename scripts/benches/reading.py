"""B2: validate and render of one, five hundred and ten thousand specs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.specs import read_specs

from .figures import Figure, Goal, in_turns, ours, peak_mib, plain_environment

MANY = 500
CITY = 10_000
SPEC = """\
name: svc-{number:05d}
version: 1.0.0
image: registry.gov/svc:1.0.0
port: 8080
routes:
  - path: /v1
    methods: [GET, POST]
scaling: {{min: 2, max: 10}}
health: {{path: /health}}
env: {{LOG_LEVEL: info}}
uses: [svc-{other:05d}]
"""


def read(blocks: int) -> list[Figure]:
    """B2, as a process for one spec and within one process for many."""
    platform = Platform()
    environment = plain_environment()
    with tempfile.TemporaryDirectory(prefix="bench-read-") as name:
        folders = {count: _written(Path(name) / str(count), count) for count in (1, MANY, CITY)}
        alone = in_turns(blocks * 3, {"ours": lambda: ours(environment, "validate", str(folders[1]))})

        def all_in_all(count: int) -> None:
            for file in read_specs([str(folders[count])]):
                compile_spec(file.spec, platform)

        all_in_all(MANY)
        many = in_turns(blocks, {"ours": lambda: all_in_all(MANY)})
        city = in_turns(1, {"ours": lambda: all_in_all(CITY)})
        growth = city["ours"][0] / (sorted(many["ours"])[len(many["ours"]) // 2] * CITY / MANY)
        memory = peak_mib([sys.executable, "-m", "hms_nomad", "validate", "--quiet", str(folders[MANY])], environment)
    return [
        Figure("B2", "validate one spec, the whole command", "s", alone),
        Figure("B2", f"read, check and compile {MANY} specs", "s", many, goals=[Goal("ours", at_most=1.0)]),
        Figure("B2", f"the same of {CITY}", "s", city),
        Figure(
            "B2",
            f"time per spec, {CITY} against {MANY} (1 is linear)",
            "x",
            {"ours": [growth]},
            goals=[Goal("ours", at_most=1.25)],
        ),
        Figure("B2", f"memory of validate, {MANY} specs", "MiB", {"ours": [memory]}, goals=[Goal("ours", at_most=200)]),
    ]


def _written(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        text = SPEC.format(number=number, other=max(0, number - 1)) if number else SPEC.format(number=0, other=0)
        text = text if number else text.replace("uses: [svc-00000]\n", "")
        (folder / f"svc-{number:05d}.hms.yml").write_text(text, encoding="utf-8")
    return folder
