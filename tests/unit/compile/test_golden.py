"""The examples, rendered: whoever changes what a spec compiles to sees here what becomes of it.

``python -m tests.unit.compile.test_golden`` writes the files anew.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from hms_nomad.platform.model import Platform, ServerAddress
from hms_nomad.platform.model_proxies import Sidecar
from hms_nomad.spec.schema import spec_schema
from hms_nomad.workflows.planning.render import render, render_hcl
from hms_nomad.workflows.specs import read_spec
from tests.binaries import binary

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
PLATFORM = Platform(
    sidecar=Sidecar(driver="exec"), bind_volumes=True, vault=ServerAddress(address="https://vault:8200")
)
EXAMPLES = sorted((ROOT / "examples").rglob("*.hms.yml"))
SPECS = {path.name.removesuffix(".hms.yml"): path for path in [*EXAMPLES, *sorted(GOLDEN.glob("*.hms.yml"))]}
# What is outside the platform has entries in Consul and no job.
WITH_JOB = sorted(name for name, path in SPECS.items() if yaml.safe_load(path.read_text()).get("kind") != "external")


def rendered(name: str) -> str:
    objects = render(read_spec(str(SPECS[name])), PLATFORM)
    return json.dumps(objects, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_spec_renders_to_what_it_rendered_to_before(name):
    assert rendered(name) == (GOLDEN / f"{name}.rendered.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(SPECS))
def test_editors_find_nothing_wrong_with_it(name):
    jsonschema.Draft202012Validator(spec_schema()).validate(yaml.safe_load(SPECS[name].read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", WITH_JOB)
def test_nomad_takes_the_text_form_of_the_job(name, tmp_path):
    nomad = binary("nomad")
    file = tmp_path / "job.hcl"
    file.write_text(render_hcl(read_spec(str(SPECS[name])), PLATFORM), encoding="utf-8")
    result = subprocess.run([nomad, "job", "validate", str(file)], capture_output=True, text=True, check=False)
    assert "Job validation successful" in result.stdout, result.stdout + result.stderr


if __name__ == "__main__":
    for each in SPECS:
        (GOLDEN / f"{each}.rendered.json").write_text(rendered(each), encoding="utf-8")
