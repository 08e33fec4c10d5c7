"""B2: validate and render of one, five hundred and ten thousand specs."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from hms_nomad.compile import compile_spec
from hms_nomad.platform.model import Platform
from hms_nomad.workflows.specs import read_specs

from .figures import Figure, Goal, in_turns, ours, peak_mib, plain_environment

MANY = 500
CITY = 10_000
FEW = 200
MORE = 2_000
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
        _compile_all(folders[MANY], platform)
        many = in_turns(blocks, {"ours": lambda: _compile_all(folders[MANY], platform)})
        city = in_turns(1, {"ours": lambda: _compile_all(folders[CITY], platform)})
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


def growth(blocks: int) -> list[Figure]:
    """B2 for the gate: whether ten times the specs take ten times the processor's time, which other work on the machine
    does not lengthen as it does the clock's.
    """
    platform = Platform()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as name:
        few, more = (_written(Path(name) / str(count), count) for count in (FEW, MORE))
        _compile_all(few, platform)
        for _ in range(blocks):
            seconds = []
            for folder in (few, more):
                started = time.process_time()
                _compile_all(folder, platform)
                seconds.append(time.process_time() - started)
            ratios.append(seconds[1] / (seconds[0] * MORE / FEW))
    what = f"processor time per spec, {MORE} against {FEW} (1 is linear)"
    return [Figure("B2", what, "x", {"ours": ratios}, goals=[Goal("ours", at_most=1.75)])]


def _compile_all(folder: Path, platform: Platform) -> None:
    for file in read_specs([str(folder)]):
        compile_spec(file.spec, platform)


def _written(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        text = SPEC.format(number=number, other=max(0, number - 1)) if number else SPEC.format(number=0, other=0)
        text = text if number else text.replace("uses: [svc-00000]\n", "")
        (folder / f"svc-{number:05d}.hms.yml").write_text(text, encoding="utf-8")
    return folder
