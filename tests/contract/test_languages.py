"""The Dockerfile made for each language builds, on a base of this machine's own programs, and its image runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hms_nomad.build.engine import find_engine
from hms_nomad.clients.retries import RetryBudget
from hms_nomad.platform.model import Platform
from hms_nomad.platform.model_images import Images
from hms_nomad.workflows.building.build import BuildOptions, build_image
from hms_nomad.workflows.session import Session
from hms_nomad.workflows.specs import SpecFile
from tests.unit.specs import spec

_SCRIPT = Path(__file__).parents[2] / "scripts" / "base_images.py"
_JAVA = 'public class Main {\n  public static void main(String[] a) { System.out.println("says java"); }\n}\n'
SOURCES = {
    "python": {"app.py": 'print("says python")\n'},
    "node": {
        "package.json": '{"name":"app","main":"index.js"}',
        "index.js": 'console.log("says " + require("word"));\n',
        "node_modules/word/package.json": '{"name":"word","version":"1.0.0","main":"w.js"}',
        "node_modules/word/w.js": 'module.exports = "node";\n',
    },
    "go": {
        "go.mod": "module gov/app\n\ngo 1.19\n",
        "main.go": 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("says go") }\n',
    },
    "java": {"Main.java": _JAVA},
}
PROGRAMS = {"python": "python3", "node": "node", "go": "go", "java": "javac"}


@pytest.mark.parametrize("language", SOURCES)
def test_a_made_dockerfile_builds_and_what_it_builds_runs(language, tmp_path):
    if shutil.which(PROGRAMS[language]) is None:
        pytest.skip(f"no {PROGRAMS[language]} on PATH")
    if find_engine() is None or shutil.which("docker") is None:
        pytest.skip("no docker on PATH answers at its socket")
    done = subprocess.run([sys.executable, str(_SCRIPT), language], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, text in SOURCES[language].items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    base = f"hms-base/{language}:local"
    platform = Platform(images=Images(bases={language: base, "java-run": "hms-base/java:local"}))
    session = Session(platform, None, None, None, 0.0, RetryBudget())
    said = []
    file = SpecFile(str(tmp_path / "app.hms.yml"), spec(image=f"hms-made/{language}", version="1.0.0", build={}))
    options = BuildOptions(push=False)
    built = build_image(session, file, options, lambda event: said.append(event.message))
    assert built.made_dockerfile
    assert not built.pushed
    run = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", built.image]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ran.stdout == f"says {language}\n", ran.stderr
